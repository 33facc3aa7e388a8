"""`dw`: the command line. It enqueues tasks as any client would, and shows what comes back."""

from worker.cli.app import main

__all__ = ["main"]
