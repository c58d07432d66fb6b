"""Logs calls that failed, each with why; of a flood with one reason, some, and how many more there were.

A line takes 16 microseconds and a write to standard error, and in a flood says nothing new. All of them are counted in
`/metrics`.
"""

from collections.abc import Callable
from typing import Final

import structlog

from tts_service.errors import GreenroomError, Reason

LINES_PER_SECOND: Final = 10
"""For each reason; there are a score of reasons."""

_log = structlog.get_logger(__name__)


class FailedCalls:
    """Logs what it is told, and leaves out what comes too thick; for the event loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second: dict[Reason, int] = {}
        self._lines: dict[Reason, int] = {}
        self._left_out: dict[Reason, int] = {}

    def note(self, event: str, error: GreenroomError) -> None:
        """Log a call's end, unless so many have ended like it in this second."""
        reason, second = error.reason, int(self._clock())
        if self._second.get(reason) != second:
            self._second[reason], self._lines[reason] = second, 0
        if self._lines[reason] >= LINES_PER_SECOND:
            self._left_out[reason] = self._left_out.get(reason, 0) + 1
            return
        self._lines[reason] += 1
        left_out = self._left_out.pop(reason, 0)
        more = {"left_out": left_out} if left_out else {}
        _log.info(event, reason=reason.value, message=error.message, **more)

    def __repr__(self) -> str:
        return f"<FailedCalls {sum(self._left_out.values())} left out>"
