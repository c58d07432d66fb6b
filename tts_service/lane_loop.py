"""One lane's loop: of all who have a step, the scheduler says again and again who takes one next, and with whom.

Rules
* The loop runs in the lane's thread while there is something to do, and lets others who wait for that thread go between
  any two pieces of work. It rests until its bell rings: somebody sits down, or what was too early has become due.
* Who has sat down is served until it has no step, its modules are away, it has failed, or it gets up. What goes wrong
  for one is told to that one. Whoever gets up is let go at once, or after the piece of work that it is part of.
* Nobody is begun for whose modules a restore would have to be awaited: waiting is for those who sat down.
* What an order held is given back by the lane's thread when the order is over, whether or not it sat here then.
* Nothing that is raised ends the loop: who caused it is told, or all who sit if nobody knows, and the rest goes on.
"""

import asyncio
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field

import structlog

from tts_service.late_steps import LateSteps
from tts_service.listening import Place
from tts_service.measured_costs import MeasuredCosts
from tts_service.residency.manager import ResidencyManager
from tts_service.scheduling.deadlines import Promise
from tts_service.seat import Seat, TakesSteps
from tts_service.spans import SpanLog
from tts_service.speech.speech_model import Lane, Modules, Stage
from tts_service.types import ModuleName
from tts_service.workers import Workers

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopParts:
    """What a loop works with. `lend` gives modules for a block; `on_step` hears how long each lease's work took.

    `speech` are all modules that speech needs at once; `late` is what the lane of sound may prepare meanwhile.
    """

    workers: Workers
    residency: ResidencyManager
    lend: Callable[[frozenset[ModuleName]], AbstractContextManager[Modules]]
    costs: MeasuredCosts
    spans: SpanLog
    on_step: Callable[[frozenset[ModuleName], float], object]
    promise: Promise
    speech: frozenset[ModuleName] = frozenset()
    late: LateSteps = field(default_factory=LateSteps)
    clock: Callable[[], float] = time.monotonic


class LaneLoop(ABC):
    """What both lanes' loops have in common."""

    lane: Lane

    def __init__(self, parts: LoopParts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._seats: dict[int, Seat] = {}
        self._at_work: frozenset[int] = frozenset()
        self._over: list[Stage] = []
        self._runs = False
        self._has_rung = False
        self._next_key = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(
        self,
        stages: Sequence[Stage],
        steps: TakesSteps,
        place: Place,
        on_wait: Callable[[Callable[[], object]], object],
    ) -> None:
        """Have steps taken until there is none, modules are away, or one fails, which is raised.

        `on_wait` is given what ends that early.
        """
        self._next_key += 1
        seat = Seat(self._next_key, stages, steps, place)
        self._loop = seat.served.get_loop()
        seat.since = self._parts.clock()
        with self._lock:
            self._seats[seat.key] = seat
        on_wait(lambda: self._get_up(seat))
        self.ring()
        try:
            await seat.served
        except asyncio.CancelledError:
            self._get_up(seat)
            raise

    def release(self, stages: Sequence[Stage]) -> None:
        """Have what these stages of an order hold given back: it is over. From any thread."""
        with self._lock:
            self._over.extend(stages)
        self.nudge()

    def ring(self) -> None:
        """Have the loop look again; from any thread."""
        with self._lock:
            self._has_rung = True
            if self._runs:
                return
            self._runs = True
        self._parts.workers.submit(self.lane, self._run)

    def _get_up(self, seat: Seat) -> None:
        seat.up = True
        with self._lock:
            if seat.key not in self._seats:
                return
            is_at_work = seat.key in self._at_work
        if not is_at_work:
            seat.end()
        # What it holds is the lane's thread's to give back.
        self.ring()

    # --- in the lane's thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._parts.workers.closing:
            with self._lock:
                self._has_rung = False
            until = self._turn()
            if until is None:
                if self._parts.workers.wanted(self.lane):
                    self._parts.workers.submit(self.lane, self._run)
                    return
                continue
            with self._lock:
                if self._has_rung:
                    continue
                self._runs = False
            loop = self._loop
            if until < math.inf and loop is not None and not loop.is_closed():
                loop.call_soon_threadsafe(self._arm, loop, until)
            return

    def _turn(self) -> float | None:
        """Do what is next; return until when there is nothing to do, if so."""
        try:
            self._release()
            # Both, one after the other: neither keeps the other waiting for longer than one piece of work.
            until = self._besides(self._parts.clock())
            seated, stay_until = self._sitting()
            upcoming = self._next(seated, self._parts.clock()) if seated else self._idle()
            return None if until is None or upcoming is None else min(until, stay_until, upcoming)
        except BaseException as error:  # noqa: BLE001  # It is raised by each who waits; here nobody would hear of it.
            return self._failed(error)

    def _failed(self, error: BaseException) -> float | None:
        """Tell all who sit what went wrong; rest if nobody does, or the same would follow at once."""
        _log.error("lane_failed", lane=self.lane.value, exc_info=error)
        with self._lock:
            seats = tuple(self._seats.values())
        for seat in seats:
            self._dismiss(seat, error)
        return None if seats else math.inf

    def _release(self) -> None:
        with self._lock:
            over, self._over = self._over, []
        for stage in over:
            try:
                self._give_back(stage)
            except BaseException as error:  # noqa: BLE001  # Its order is over: nobody else is concerned.
                _log.error("release_failed", lane=self.lane.value, exc_info=error)

    def _sits(self, seat: Seat) -> bool:
        """Tell whether somebody is served still."""
        return seat.key in self._seats

    def _sitting(self) -> tuple[list[Seat], float]:
        """Return those who have a step that can be taken now, and until when those stay who wait here; others go."""
        with self._lock:
            seats = tuple(self._seats.values())
        home: dict[frozenset[ModuleName], bool] = {}
        sitting, until = list[Seat](), math.inf
        for seat in seats:
            try:
                seat.found = self._look(seat)
                if seat.found is not None and self._is_home(seat.found.modules, home):
                    sitting.append(seat)
                    continue
                stays_until = None if seat.found is None else self._waits_until(seat)
            except BaseException as error:  # noqa: BLE001  # It is raised by who waits for the seat.
                self._dismiss(seat, error)
                continue
            if stays_until is None:
                self._dismiss(seat)
            else:
                until = min(until, stays_until)
        return sitting, until

    def _look(self, seat: Seat) -> Stage | None:
        """Return where a seat's next step is."""
        return seat.stage

    def _is_home(self, modules: frozenset[ModuleName], home: dict[frozenset[ModuleName], bool]) -> bool:
        """Tell whether a step with these can be taken now; `home` keeps what was asked before."""
        known = home.get(modules)
        if known is None:
            known = home[modules] = not self._parts.residency.away(modules)
        return known

    def _besides(self, now: float) -> float | None:
        """Do what there is besides serving; None if something was done, else when to look again."""
        del now
        return math.inf

    def _waits_until(self, seat: Seat) -> float | None:
        """Return until when somebody waits here whose modules are away; None for who calls them home."""
        del seat
        return None

    @abstractmethod
    def serves(self, stages: Sequence[Stage]) -> bool:
        """Tell whether these stages' steps may be taken here."""

    @abstractmethod
    def _next(self, seats: Sequence[Seat], now: float) -> float | None:
        """Ask the scheduler, and do what it says; return until when there is nothing to do, if so."""

    def _idle(self) -> float | None:
        """Do what is left to do while nobody sits; return until when there is nothing."""
        return math.inf

    def _work(
        self, seats: Collection[Seat], modules: frozenset[ModuleName], name: str, work: Callable[[Modules], None]
    ) -> bool:
        """Do something for these under one lease; what goes wrong as a whole is told to all of them, and no others.

        Return whether nothing did.
        """
        parts = self._parts
        with self._lock:
            self._at_work = frozenset(seat.key for seat in seats)
        failure: BaseException | None = None
        try:
            with parts.spans.span(f"lease for {name}", on=self.lane.value), parts.lend(modules) as leased:
                began_seconds = time.perf_counter()
                with parts.spans.span(name, on=self.lane.value):
                    work(leased)
                parts.on_step(modules, time.perf_counter() - began_seconds)
        except BaseException as error:  # noqa: BLE001  # It is raised by each who waits.
            failure = error
        finally:
            with self._lock:
                self._at_work = frozenset()
        for seat in seats:
            if failure is not None or seat.up:
                self._dismiss(seat, failure)
        return failure is None

    def _take(self, seat: Seat, stage: Stage, leased: Modules) -> bool:
        """Take a seat's step; whatever goes wrong is that seat's. Return whether nothing did."""
        try:
            seat.steps.take(stage, leased)
        except BaseException as error:  # noqa: BLE001  # It is raised by who waits for the seat.
            self._dismiss(seat, error)
            return False
        return True

    def _dismiss(self, seat: Seat, error: BaseException | None = None) -> None:
        with self._lock:
            known = self._seats.pop(seat.key, None) is not None
        if not known:
            return
        try:
            self._leave(seat)
        except BaseException as failure:  # noqa: BLE001  # It is raised by who waits, and must end that wait.
            error = error or failure
        seat.end(error)

    def _leave(self, seat: Seat) -> None:  # noqa: B027  # Not every lane's steps hold something.
        """Tidy up after somebody who is served no longer."""

    def _give_back(self, stage: Stage) -> None:  # noqa: B027  # The same.
        """Give back what a stage holds whose order is over."""

    def _arm(self, loop: asyncio.AbstractEventLoop, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(max(0.0, until - self._parts.clock()), self.nudge)

    def nudge(self) -> None:
        """Have the loop look again, if there is still a thread for it; from any thread."""
        with suppress(RuntimeError):  # The lane's thread has ended meanwhile, and all that was to come with it.
            self.ring()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._seats)} sit | {'runs' if self._runs else 'rests'}>"
