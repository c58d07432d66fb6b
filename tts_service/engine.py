"""Runs steps in worker threads under leases: the seam behind which computing may one day be a process of its own.

A step is a function of its leased modules. Before it takes a worker, its modules are made ready, so that no worker
waits for a restore while others could compute; the lease itself is then taken, and ended, inside the worker. A lane's
next step follows in the same thread, under a lease of its own, as long as its modules are there and nobody else waits
for the thread: a change of threads costs more than a short step.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol, TypeVar

from tts_service.abandonment import OnWait, abandonable
from tts_service.errors import GreenroomError, Reason, ServiceError, StartupError
from tts_service.residency.manager import ResidencyManager
from tts_service.speech.session_config import SessionConfig
from tts_service.speech.speech_model import Lane, Modules, SpeechModel, Stage, UtteranceSpeech, next_stage
from tts_service.step_turns import StepTurns
from tts_service.types import WATERMARK_ENCODER, ModuleName
from tts_service.workers import Workers

Result = TypeVar("Result")


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

    `models` are those that can be asked for, by id. With `prefetches`, modules are called before they are needed.
    """

    def __init__(
        self,
        residency: ResidencyManager,
        workers: Workers,
        *,
        models: Mapping[str, SpeechModel],
        restore_timeout_seconds: float,
        prefetches: bool = True,
    ) -> None:
        self.residency = residency
        self.prefetches = prefetches
        self._workers = workers
        self._models = models
        self._restore_timeout_seconds = restore_timeout_seconds
        self._turns = StepTurns(residency.room.holds)

    async def advance(self, lane: Lane, stages: Sequence[Stage], watch: StepWatch) -> None:
        """Take a lane's next step, if it has one, and those after it as far as nothing speaks against it."""
        stage = next_stage(stages)
        if stage is not None:
            await self._ready(stage.modules, watch)
            await asyncio.wrap_future(self._workers.submit(lane, lambda: self._run_on(lane, stages, watch)))

    def _run_on(self, lane: Lane, stages: Sequence[Stage], watch: StepWatch) -> None:
        stage = next_stage(stages)
        while stage is not None:
            self._leased(stage.modules, partial(watch.take, stage))
            stage = next_stage(stages)
            if stage is not None and (self._workers.wanted(lane) or self.residency.away(stage.modules)):
                return

    async def _ready(self, modules: frozenset[ModuleName], watch: StepWatch) -> None:
        ready = self.residency.prepare(modules)
        if ready.done():
            ready.result()
            return
        for module in self.residency.away(modules):
            watch.on_restore(module, self.residency.expected_restore_seconds({module}))
        waiting = asyncio.wrap_future(ready)
        watch.on_wait(waiting.cancel)
        try:
            # The manager ends the wait itself and says why; this bound only guards against its silence.
            async with asyncio.timeout(self._restore_timeout_seconds + 1.0):
                await abandonable(waiting)
        except TimeoutError:
            message = f"modules did not come back within {self._restore_timeout_seconds:g} s"
            raise ServiceError(Reason.ENGINE_FAULT, message, retry_after_seconds=1.0) from None

    def _leased(self, modules: frozenset[ModuleName], step: Callable[[Modules], Result]) -> Result:
        with self.residency.lease(modules, timeout_seconds=self._restore_timeout_seconds) as leased:
            return step(leased)

    def borrow(self, module: ModuleName, step: Callable[[Any], Result]) -> Result:
        """Run one step in this thread, under a lease on one module: for work that has a thread of its own."""
        return self._leased(frozenset({module}), lambda leased: step(leased[module]))

    # --- what speech needs --------------------------------------------------------------------------------------

    def prepare(self, progress: Callable[[str], object]) -> None:
        """Do what the models want done before the first utterance, in this thread's time; `progress` hears of it.

        Raises StartupError.
        """
        for step in [step for model in self._models.values() for step in model.prepare_steps()]:
            progress(step.name)
            try:
                self._workers.submit(step.lane, partial(self._leased, step.modules, step.run)).result()
            except GreenroomError as error:
                raise StartupError(f"{step.name}: {error}") from error

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
        return self.residency.room.turns([*self._models[model].modules, WATERMARK_ENCODER])

    def turn(self, modules: frozenset[ModuleName], *, on_wait: OnWait) -> AbstractAsyncContextManager[None]:
        """Wait until steps with these modules are welcome, and have them so for a block."""
        return self._turns.turn(modules, on_wait=on_wait)

    def speech_modules(self, model: str) -> frozenset[ModuleName]:
        """Return the modules that speech with a model needs."""
        return frozenset(self._models[model].modules) | {WATERMARK_ENCODER}

    def utterance(self, config: SessionConfig) -> UtteranceSpeech:
        """Begin an utterance. Raises CallerError."""
        return self._models[config.model].utterance(config)

    def __repr__(self) -> str:
        return f"<Engine over {self.residency!r}>"
