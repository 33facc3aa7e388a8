"""What `dw` fails with by itself, beside the errors of the contract."""

from worker.errors import Unanswered

__all__ = ["Unanswered", "UsageWrong"]


class UsageWrong(Exception):
    """The command line is not one that `dw` has."""
