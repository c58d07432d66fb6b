"""What work costs here, as both lanes measure it: figures at first, then what was seen. For any thread."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tts_service.scheduling.costs import CLIPPED, Costs, Figures, expected, observed
from tts_service.scheduling.utilisation import Part
from tts_service.scheduling.work import Work
from tts_service.speech.speech_model import Lane

_OTHER: Final = {Lane.TOKENS: Lane.SOUND, Lane.SOUND: Lane.TOKENS}
_FOR_TOKENS: Final = frozenset({Work.PROMPT, Work.TOKEN})

OnRun = Callable[[Part, float, float], object]
"""Hears of a run: its part of the service, its seconds (an odd one cut short), and its seconds by the figures."""


@dataclass(slots=True)
class Measured:
    """How long a block took, and for which share of it the other lane worked."""

    seconds: float = 0.0
    beside: float = 0.0


class MeasuredCosts:
    """Costs that grow truer, and who works when; `on_run` hears of each run in its lane's thread."""

    def __init__(
        self,
        figures: Figures,
        clock: Callable[[], float] = time.perf_counter,
        *,
        on_run: OnRun = lambda _part, _seconds, _expected_seconds: None,
    ) -> None:
        self.costs = Costs(figures=figures)
        self._figures = Costs(figures=figures)
        self._on_run = on_run
        self._clock = clock
        self._lock = threading.Lock()
        self._busy_since: dict[Lane, float] = {}
        self._busy_seconds = dict.fromkeys(Lane, 0.0)
        self._rests_since = dict.fromkeys(Lane, -math.inf)

    @contextmanager
    def working(self, lane: Lane) -> Iterator[Measured]:
        """Work in a lane for the length of a block; what is given is filled in at its end."""
        other = _OTHER[lane]
        measured = Measured()
        with self._lock:
            began = self._busy_since[lane] = self._clock()
            other_before = self._busy(other, began)
        try:
            yield measured
        finally:
            with self._lock:
                ended = self._rests_since[lane] = self._clock()
                self._busy_seconds[lane] += ended - self._busy_since.pop(lane)
                measured.seconds = ended - began
                overlap = self._busy(other, ended) - other_before
            measured.beside = min(1.0, max(0.0, overlap / measured.seconds)) if measured.seconds else 0.0

    def rested_seconds(self, lane: Lane) -> float:
        """Return for how long a lane has done nothing; 0 while it works."""
        with self._lock:
            return 0.0 if lane in self._busy_since else self._clock() - self._rests_since[lane]

    def note(self, parts: Sequence[tuple[Work, int, float]], measured: Measured) -> None:
        """Learn from work that took so long in all: (kind, size, how many such) of each part of it."""
        with self._lock:
            costs = self.costs
            each = [expected(costs, work, size, beside=measured.beside) for work, size, _ in parts]
            all_seconds = sum(seconds * times for seconds, (_, _, times) in zip(each, parts, strict=True))
            wrong_by = measured.seconds / all_seconds
            for (work, size, _), seconds in zip(parts, each, strict=True):
                costs = observed(costs, work, size, seconds * wrong_by, beside=measured.beside)
            self.costs = costs
        part = Part.TOKENS if parts[0][0] in _FOR_TOKENS else Part.SOUND
        by_figures = sum(
            expected(self._figures, work, size, beside=measured.beside) * times for work, size, times in parts
        )
        self._on_run(part, min(measured.seconds, CLIPPED * all_seconds), by_figures)

    def _busy(self, lane: Lane, now: float) -> float:
        since = self._busy_since.get(lane)
        return self._busy_seconds[lane] + (0.0 if since is None else now - since)

    def __repr__(self) -> str:
        busy = ", ".join(f"{lane.value} {seconds:.1f} s" for lane, seconds in self._busy_seconds.items())
        return f"<MeasuredCosts {busy} | {len(self.costs.factors)} factors>"
