"""The door of a simulated service: who asks, waits, is sent away and comes back when it was told to."""

import math
from collections.abc import Callable
from dataclasses import replace

from benchmarks.scheduling_outcome import Outcome
from benchmarks.scheduling_sessions import Arrival
from tts_service.scheduling.admission import AdmissionLimits, Door, asked, left, looked_at, wakes_at
from tts_service.scheduling.capacity import Standing
from tts_service.scheduling.verdicts import Admitted, Applicant, Queued, Refused

TRIES = 3
"""How often somebody comes back who was refused."""
LOOK_SECONDS = 0.02
"""How often it is looked at while somebody waits."""


class Reception:
    """A door. `standing` tells how the machine stands, `enter` lets in, `at` has something happen at a time."""

    def __init__(
        self,
        limits: AdmissionLimits,
        outcome: Outcome,
        *,
        standing: Callable[[], Standing],
        enter: Callable[[int, Arrival], None],
        at: Callable[[float, Callable[[float], None]], None],
    ) -> None:
        self.door = Door()
        self._limits = limits
        self._outcome = outcome
        self._standing = standing
        self._enter = enter
        self._at = at
        self._asking: dict[int, tuple[Arrival, int]] = {}
        self._looks_at = 0.0

    def ask(self, key: int, arrival: Arrival, now: float, tries: int = 0) -> None:
        """Take an arrival in, or not."""
        applicant = Applicant(key=key, client=arrival.client, priority=arrival.priority)
        self.door, verdict = asked(self.door, applicant, self._standing(), self._limits, now)
        self._asking[key] = (arrival, tries)
        self._tell(verdict, now)

    def leave(self, key: int, now: float) -> None:
        """Note that a session has ended."""
        self.door = left(self.door, key, now)
        self._look(now)

    def _tell(self, verdict: Admitted | Queued | Refused, now: float) -> None:
        if isinstance(verdict, Queued):
            self._outcome.queued += 1
            self._look_later(now)
            return
        arrival, tries = self._asking.pop(verdict.key)
        if isinstance(verdict, Admitted):
            self._outcome.came_back += tries > 0
            self._enter(verdict.key, arrival)
            return
        self._outcome.refused += 1
        if tries < TRIES:
            again = replace(arrival, at=now + verdict.retry_after_seconds)
            self._at(again.at, lambda then: self.ask(verdict.key, again, then, tries + 1))

    def _look(self, now: float) -> None:
        """Let in who may come in."""
        let_in = True
        while let_in:
            self.door, said = looked_at(self.door, self._standing(), self._limits, now)
            for each in said:
                self._tell(each, now)
            let_in = any(isinstance(each, Admitted) for each in said)
        self._look_later(now)

    def _look_later(self, now: float) -> None:
        when = wakes_at(self.door, self._standing(), self._limits)
        if when < math.inf and self._looks_at <= now:
            self._looks_at = min(when, now + LOOK_SECONDS) + 1e-6
            self._at(self._looks_at, self._look)

    def __repr__(self) -> str:
        return f"<Reception {len(self.door.guests.by_key)} in, {len(self.door.queue)} wait>"
