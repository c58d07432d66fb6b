"""What work on a device takes that is queued ahead of it: the host knows when some of it is done, not when it began."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tts_service.measured_costs import Measured
from tts_service.scheduling.work import Work

Parts = Sequence[tuple[Work, int, float]]
"""(Kind, size, how many such) of each part of a piece of work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    parts: Parts
    queued_at: float
    beside: float


class QueuedWork:
    """Pieces in the order in which they were queued. `note` hears what each took, once it is known."""

    def __init__(
        self, note: Callable[[Parts, Measured], object], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._note = note
        self._clock = clock
        self._waiting: list[_Piece] = []
        self._done_at = 0.0

    def now(self) -> float:
        """Return the time."""
        return self._clock()

    def queued(self, parts: Parts, began: float, beside: float) -> None:
        """Note that a piece was queued, from `began` on, by this object's clock."""
        self._waiting.append(_Piece(parts=parts, queued_at=began, beside=beside))

    def done(self) -> None:
        """Note that all is done now."""
        self._done(len(self._waiting))

    def done_before(self, work: Work) -> None:
        """Note that the last but one of its kind is done now, with all that was queued before that, and no more."""
        places = [place for place, each in enumerate(self._waiting) if each.parts[0][0] is work]
        self._done(places[-2] + 1 if len(places) > 1 else 0)

    def _done(self, count: int) -> None:
        now = self._clock()
        done, self._waiting = self._waiting[:count], self._waiting[count:]
        if not done:
            return
        seconds = now - max(done[0].queued_at, self._done_at)
        self._done_at = now
        parts = [part for each in done for part in each.parts]
        self._note(parts, Measured(seconds=seconds, beside=sum(each.beside for each in done) / len(done)))

    def forget(self) -> None:
        """Note that nobody will say when what is queued is done: it is no measure of how long anything takes."""
        self._waiting.clear()

    def __repr__(self) -> str:
        return f"<QueuedWork {len(self._waiting)} wait>"
