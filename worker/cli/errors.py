"""What `dw` fails with by itself, beside the errors of the contract."""


class Unanswered(Exception):
    """Nobody took what was sent, or it could not be sent."""


class UsageWrong(Exception):
    """The command line is not one that `dw` has."""
