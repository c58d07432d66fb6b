"""A clock that moves when it is told to."""


class ManualClock:
    """Seconds since some start; `advance` moves it, calling it reads it."""

    def __init__(self, start_seconds: float = 1_000.0) -> None:
        self.now_seconds = start_seconds

    def __call__(self) -> float:
        """Read it."""
        return self.now_seconds

    def advance(self, seconds: float) -> None:
        """Move forward; a clock never goes back."""
        assert seconds >= 0
        self.now_seconds += seconds

    def __repr__(self) -> str:
        return f"<ManualClock {self.now_seconds}>"
