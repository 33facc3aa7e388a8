"""What this folder raises."""


class UnavailableError(Exception):
    """A service can neither be found nor started; the text is one sentence that says what to do."""
