"""`dw`: the command line. It enqueues tasks as any client would, and shows what comes back."""

import atexit
import gc


def main() -> None:
    """Run `dw`."""
    # A process this short has nothing to collect, and looking for it would be a third of its time: while it imports,
    # and the most at its end.
    gc.disable()
    atexit.register(gc.freeze)
    from worker.cli.app import run

    run()
