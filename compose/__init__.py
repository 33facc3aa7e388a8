"""Real services for the demo and the tests: an engine, a Redis, a registry with a password.

`python -m compose.services -- COMMAND` finds or starts them, runs the command and stops what it started.
"""
