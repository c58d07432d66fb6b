"""Runs steps in worker threads under leases, or in the loops that several sessions share.

A step is a function of its leased modules. Before it takes a worker, its modules are made ready, so that no worker
waits for a restore while others could compute; the lease itself is then taken, and ended, inside the worker. A lane's
next step follows in the same thread, under a lease of its own, as long as its modules are there and nobody else waits
for the thread: a change of threads costs more than a short step.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from functools import partial
from itertools import count
from typing import Any, Final, Protocol, TypeVar

from tts_service.abandonment import OnWait, abandonable
from tts_service.errors import GreenroomError, Reason, ServiceError, StartupError
from tts_service.lane_loop import LaneLoop, LoopParts
from tts_service.late_steps import LateSteps
from tts_service.listening import Place
from tts_service.loops import Pace, lane_loops
from tts_service.measured_costs import MeasuredCosts, OnRun
from tts_service.residency.growth import RoomWantedError
from tts_service.residency.manager import ResidencyManager
from tts_service.spans import NO_SPANS, SpanLog
from tts_service.speech.session_config import SessionConfig
from tts_service.speech.speech_model import Lane, Modules, PrepareStep, SpeechModel, Stage, UtteranceSpeech, next_stage
from tts_service.step_turns import StepTurns
from tts_service.steps_under_way import StepsUnderWay
from tts_service.types import WATERMARK_ENCODER, ModuleName
from tts_service.utterance_claim import UtteranceClaim
from tts_service.workers import Workers

Result = TypeVar("Result")

MOST_ROOMS: Final = 8
"""How often room is made for one step before the first utterance: it may want some for each of its buffers."""

OnStep = Callable[[frozenset[ModuleName], float], object]
"""Hears in a worker's thread which modules a step used, and how long it took; must be quick."""


class StepWatch(Protocol):
    """Who hears what becomes of a lane's steps."""

    def on_restore(self, module: ModuleName, expected_seconds: float | None) -> None:
        """Hear, in the event loop, of a module that is away and awaited."""
        ...

    def on_wait(self, stop: Callable[[], object]) -> None:
        """Take, in the event loop, what ends the wait that begins; the steps then raise StepAbandonedError."""
        ...

    def take(self, stage: Stage, leased: Modules) -> None:
        """Take a stage's next step, in a worker's thread."""
        ...


class Engine:
    """Where steps run. It knows modules by name and steps as functions; what they compute is not its business.

    `models` are those that can be asked for, by id. With `prefetches`, modules are called before they are needed. With
    a `pace`, lanes that have a thread each are scheduled over all sessions by when each will be missed, by `clock`.
    """

    def __init__(
        self,
        residency: ResidencyManager,
        workers: Workers,
        *,
        models: Mapping[str, SpeechModel],
        restore_timeout_seconds: float,
        prefetches: bool = True,
        spans: SpanLog = NO_SPANS,
        on_step: OnStep = lambda _modules, _seconds: None,
        on_run: OnRun = lambda _part, _seconds, _expected_seconds: None,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.residency = residency
        self.prefetches = prefetches
        self.spans = spans
        self._on_step = on_step
        self._workers = workers
        self._models = models
        self._restore_timeout_seconds = restore_timeout_seconds
        self._turns = StepTurns(residency.room.holds)
        self.under_way = StepsUnderWay(time.monotonic)
        self._loops: Mapping[Lane, LaneLoop] = {}
        self.late = LateSteps()
        if pace is not None:
            parts = LoopParts(
                workers=workers,
                residency=residency,
                lend=self._lent,
                costs=MeasuredCosts(pace.figures, clock, on_run=on_run),
                spans=spans,
                on_step=on_step,
                promise=pace.promise,
                late=self.late,
                clock=clock,
                speech=frozenset[ModuleName]().union(*(step for each in models.values() for step in each.step_modules)),
            )
            self._loops = lane_loops(pace, parts)

    async def advance(self, lane: Lane, stages: Sequence[Stage], watch: StepWatch, place: Place | None = None) -> None:
        """Take a lane's next step, if it has one, and those after it as far as nothing speaks against it.

        Who has a `place` among others shares what can be shared with them.
        """
        stage = next_stage(stages)
        if stage is None:
            return
        await self._ready(stage.modules, watch)
        loop = self._loops.get(lane)
        if place is not None and loop is not None and loop.serves(stages):
            try:
                await loop.serve(stages, watch, place, watch.on_wait)
            except RoomWantedError:
                # Room is made for a step of its own, below; the others go on without it.
                pass
            else:
                return
        try:
            await self._in_worker(lane, stages, watch)
        except RoomWantedError as wanted:
            wanted.dispensable = self._turns.others(self.residency.modules)
            with self.residency.make_room(wanted) as room:
                waiting = asyncio.wrap_future(room.ready)
                watch.on_wait(waiting.cancel)
                await abandonable(waiting)
                await self._ready(stage.modules, watch)
                await self._in_worker(lane, stages, watch)

    def release(self, stages: Sequence[Stage]) -> None:
        """Have what these stages of an order hold on the device given back, now that it is over."""
        own = [stage for stage in stages if stage.lane is Lane.TOKENS]
        loop = self._loops.get(Lane.TOKENS)
        if own and loop is not None:
            loop.release(own)

    def hurry(self) -> None:
        """Have the lanes look again at who waits: somebody will be missed sooner than was thought."""
        for loop in self._loops.values():
            loop.nudge()

    async def _in_worker(self, lane: Lane, stages: Sequence[Stage], watch: StepWatch) -> None:
        await asyncio.wrap_future(self._workers.submit(lane, lambda: self._run_on(lane, stages, watch)))

    def _run_on(self, lane: Lane, stages: Sequence[Stage], watch: StepWatch) -> None:
        stage, made = next_stage(stages), 0
        while stage is not None:
            name = _name_of(stage)
            try:
                with self.spans.span(f"lease for {name}", on=lane.value):
                    self._leased(stage.modules, partial(self._take, watch, stage, name))
            except RoomWantedError:
                if not made:
                    raise
                # What was made counts; the step that lacks room comes first next time.
                return
            stage, made = next_stage(stages), made + 1
            if stage is not None and (self._workers.wanted(lane) or self.residency.away(stage.modules)):
                return

    def _take(self, watch: StepWatch, stage: Stage, name: str, leased: Modules) -> None:
        began_seconds = time.perf_counter()
        with self.spans.span(name, on=stage.lane.value):
            watch.take(stage, leased)
        self._on_step(stage.modules, time.perf_counter() - began_seconds)

    async def _ready(self, modules: frozenset[ModuleName], watch: StepWatch) -> None:
        ready = self.residency.prepare(modules)
        if ready.done():
            ready.result()
            return
        for module in self.residency.away(modules):
            watch.on_restore(module, self.residency.expected_restore_seconds({module}))
        began_seconds = self.spans.now()
        waiting = asyncio.wrap_future(ready)
        watch.on_wait(waiting.cancel)
        try:
            # The manager ends the wait itself and says why; this bound only guards against its silence.
            async with asyncio.timeout(self._restore_timeout_seconds + 1.0):
                await abandonable(waiting)
        except TimeoutError:
            message = f"modules did not come back within {self._restore_timeout_seconds:g} s"
            raise ServiceError(Reason.ENGINE_FAULT, message, retry_after_seconds=1.0) from None
        self.spans.began(f"wait for {' '.join(sorted(modules))}", on="waits", begin_seconds=began_seconds)

    def _leased(self, modules: frozenset[ModuleName], step: Callable[[Modules], Result]) -> Result:
        with self.residency.lease(modules, timeout_seconds=self._restore_timeout_seconds) as leased:
            return self._taken(step, leased)

    def _taken(self, step: Callable[[Modules], Result], leased: Modules) -> Result:
        with self.under_way.taking():
            return step(leased)

    @contextmanager
    def _lent(self, modules: frozenset[ModuleName]) -> Iterator[Modules]:
        timeout_seconds = self._restore_timeout_seconds
        with self.residency.lease(modules, timeout_seconds=timeout_seconds) as leased, self.under_way.taking():
            yield leased

    def borrow(self, module: ModuleName, step: Callable[[Any], Result]) -> Result:
        """Run one step in this thread, under a lease on one module: for work that has a thread of its own."""
        return self._leased(frozenset({module}), lambda leased: step(leased[module]))

    # --- what speech needs --------------------------------------------------------------------------------------

    def prepare(self, progress: Callable[[str], object]) -> None:
        """Do what the models want done before the first utterance, in this thread's time; `progress` hears of it.

        Raises StartupError.
        """
        steps = [step for model in self._models.values() for step in model.prepare_steps()]
        # Without loops nobody would take them later, nor have any use for them.
        self.late.add([step for step in steps if step.late and self._loops])
        for step in [step for step in steps if not step.late]:
            progress(step.name)
            try:
                with self.spans.span(step.name, on=step.lane.value):
                    self._prepare(step)
            except GreenroomError as error:
                raise StartupError(f"{step.name}: {error}") from error

    def _prepare(self, step: PrepareStep) -> None:
        """Take a step, anew each time that room had to be made for it: nothing speaks yet, so others can leave."""
        with ExitStack() as rooms:
            for attempt in count(1):
                try:
                    self._workers.submit(step.lane, partial(self._leased, step.modules, step.run)).result()
                except RoomWantedError as wanted:
                    if attempt > MOST_ROOMS:
                        raise
                    rooms.close()
                    rooms.enter_context(self.residency.make_room(wanted)).ready.result()
                else:
                    return

    def prefetch(self, model: str) -> None:
        """Call what speech with a model needs first, because a session has opened. Failures show when it is needed."""
        if self.prefetches:
            try:
                first = self.turns(model)[0]
            except ServiceError:
                return
            self.residency.prepare(first)

    def call(self, modules: frozenset[ModuleName]) -> "Future[None] | None":
        """Have modules come that will be needed soon; cancelling the result ends the wish."""
        return self.residency.prepare(modules) if self.prefetches else None

    def turns(self, model: str) -> tuple[frozenset[ModuleName], ...]:
        """Return what speech with a model needs, in groups that fit at home: one, unless memory is low.

        Raises ServiceError DEVICE_MEMORY if it can never be had.
        """
        return self.residency.room.turns(self._models[model].step_modules)

    def turn(self, modules: frozenset[ModuleName], *, on_wait: OnWait) -> AbstractAsyncContextManager[None]:
        """Wait until steps with these modules are welcome, and have them so for a block."""
        return self._turns.turn(modules, on_wait=on_wait)

    def speech_modules(self, model: str) -> frozenset[ModuleName]:
        """Return the modules that speech with a model needs."""
        return frozenset(self._models[model].modules) | {WATERMARK_ENCODER}

    def claim(self, model: str) -> UtteranceClaim:
        """Note an open utterance's interest in what speech with a model needs."""
        tokens = frozenset(self._models[model].step_modules[0])
        return UtteranceClaim(self.residency.claim, self.speech_modules(model), tokens)

    def utterance(self, config: SessionConfig) -> UtteranceSpeech:
        """Begin an utterance. Raises CallerError."""
        return self._models[config.model].utterance(config)

    def __repr__(self) -> str:
        return f"<Engine over {self.residency!r}>"


def _name_of(stage: Stage) -> str:
    """Return what a stage's steps are called in a trace: `token` for a TokenStage's."""
    return type(stage).__name__.removesuffix("Stage").lower()
