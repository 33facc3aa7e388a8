"""The commands, by subject.

Each imports what it needs when it runs: most of a command's time is that of its imports, and `dw --help` needs none.
"""
