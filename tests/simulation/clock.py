"""Time that passes only when it is told to."""

_BEGINNING = 1_700_000_000.0


class Clock:
    """Seconds since 1970; `tick` is how far each look at it moves it on, for tests that await its moving."""

    def __init__(self, tick=0.0):
        self.now = _BEGINNING
        self._tick = tick

    def time(self):
        self.now += self._tick
        return self.now

    monotonic = time
