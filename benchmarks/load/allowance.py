"""When pacing lets audio leave, as far as a client knows: from its own reports of playback. Pure.

The service sends at most `ahead_seconds` beyond what was played; each report makes room for so much more. Audio that
fits into the lead needs no room, and where nothing is reported the client knows of none.
"""

from collections import deque
from typing import Final

TIMER_SECONDS: Final = 0.002
"""The service keeps the lead smaller by this, because its timers are coarse."""


class Allowance:
    """What may have left of one utterance, over time."""

    def __init__(self, *, ahead_seconds: float) -> None:
        self._ahead_seconds = ahead_seconds - TIMER_SECONDS
        self._reports: deque[tuple[float, float]] = deque()

    def __repr__(self) -> str:
        return f"<Allowance of {self._ahead_seconds:g} s | {len(self._reports)} reports>"

    def report(self, played_seconds: float, now: float) -> None:
        """Note a report that was sent."""
        self._reports.append((now, played_seconds + self._ahead_seconds))

    def due_at(self, end_seconds: float) -> float | None:
        """Return when the report went that made room for audio that ends there; None if it needed none that is known.

        Ends are asked for in rising order; reports that made too little room are forgotten.
        """
        if end_seconds <= self._ahead_seconds:
            return None
        while self._reports and self._reports[0][1] < end_seconds:
            self._reports.popleft()
        return self._reports[0][0] if self._reports else None
