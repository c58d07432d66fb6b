"""Runs steps in worker threads under leases: the seam behind which computing may one day be a process of its own.

A step is a function of its leased modules. Before it takes a worker, its modules are made ready, so that no worker
waits for a restore while others could compute; the lease itself is then taken, and ended, inside the worker.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar

import structlog

from tts_service.errors import GreenroomError, Reason, ServiceError
from tts_service.residency.manager import Claim, ResidencyManager
from tts_service.speech.pipeline import SegmentAudio, UtteranceAudio
from tts_service.speech.rendering import (
    AudioFinished,
    AudioMade,
    DiscardAudio,
    FinishAudio,
    Order,
    RenderEvent,
    RenderFailed,
    RenderSegment,
    RenderStarted,
    RestoreAwaited,
    SegmentMade,
    SegmentSpoken,
)
from tts_service.speech.session_config import SessionConfig
from tts_service.speech.speech_model import Modules, SpeechModel, UtteranceSpeech
from tts_service.types import WATERMARK_ENCODER, EncodedPiece, ModuleName

Result = TypeVar("Result")

_MARKING = frozenset({WATERMARK_ENCODER})

log = structlog.get_logger(__name__)


class StepAbandonedError(Exception):
    """Nobody waits any more for the modules of a step, which was not begun."""


class Engine:
    """Where steps run. It knows modules by name and steps as functions; what they compute is not its business.

    `models` are those that can be asked for, by id.
    """

    def __init__(
        self,
        residency: ResidencyManager,
        executor: Executor,
        *,
        models: Mapping[str, SpeechModel],
        restore_timeout_seconds: float,
    ) -> None:
        self.residency = residency
        self._executor = executor
        self._models = models
        self._restore_timeout_seconds = restore_timeout_seconds

    async def step(
        self,
        modules: frozenset[ModuleName],
        step: Callable[[Modules], Result],
        *,
        on_restore: Callable[[ModuleName, float | None], None] | None = None,
        on_start: Callable[[], None] | None = None,
        on_wait: Callable[[Callable[[], object]], None] | None = None,
    ) -> tuple[Result, float]:
        """Run one step under a lease on its modules; return its result and the seconds that it computed.

        `on_restore` hears at once of each module that is away, `on_start` when a worker has taken the step up.
        `on_wait` is given what ends a wait for modules; the step then raises StepAbandonedError.
        """
        await self._ready(modules, on_restore, on_wait)
        loop = asyncio.get_running_loop()

        def work() -> tuple[Result, float]:
            if on_start is not None:
                loop.call_soon_threadsafe(on_start)
            return self._leased(modules, step)

        return await loop.run_in_executor(self._executor, work)

    async def _ready(
        self,
        modules: frozenset[ModuleName],
        on_restore: Callable[[ModuleName, float | None], None] | None,
        on_wait: Callable[[Callable[[], object]], None] | None,
    ) -> None:
        ready = self.residency.prepare(modules)
        if ready.done():
            ready.result()
            return
        if on_restore is not None:
            for module in self.residency.away(modules):
                on_restore(module, self.residency.expected_restore_seconds({module}))
        waiting = asyncio.wrap_future(ready)
        if on_wait is not None:
            on_wait(waiting.cancel)
        try:
            # The manager ends the wait itself and says why; this bound only guards against its silence.
            await asyncio.wait_for(waiting, self._restore_timeout_seconds + 1.0)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise StepAbandonedError from None
        except TimeoutError:
            message = f"modules did not come back within {self._restore_timeout_seconds:g} s"
            raise ServiceError(Reason.ENGINE_FAULT, message, retry_after_seconds=1.0) from None

    def _leased(self, modules: frozenset[ModuleName], step: Callable[[Modules], Result]) -> tuple[Result, float]:
        with self.residency.lease(modules, timeout_seconds=self._restore_timeout_seconds) as leased:
            began = time.perf_counter()
            result = step(leased)
            return result, time.perf_counter() - began

    def borrow(self, module: ModuleName, step: Callable[[Any], Result]) -> Result:
        """Run one step in this thread, under a lease on one module: for work that has a thread of its own."""
        return self._leased(frozenset({module}), lambda leased: step(leased[module]))[0]

    def prefetch(self, model: str) -> None:
        """Call what speech with a model needs, because a session has opened. Failures show when it is needed."""
        self.residency.prepare(self.speech_modules(model))

    def speech_modules(self, model: str) -> frozenset[ModuleName]:
        """Return the modules that speech with a model needs."""
        return self._models[model].modules | {WATERMARK_ENCODER}

    def utterance(self, config: SessionConfig) -> UtteranceSpeech:
        """Begin an utterance's speech. Raises CallerError."""
        return self._models[config.model].utterance(config)

    def __repr__(self) -> str:
        return f"<Engine over {self.residency!r}>"


Emit = Callable[[RenderEvent], None]


class Renderer:
    """Carries out one session's orders, one at a time and in order; a discard takes effect at once.

    `run` is the session's task for it; `submit` may be called at any time from the same loop.
    """

    def __init__(self, engine: Engine, emit: Emit) -> None:
        self._engine = engine
        self._emit = emit
        self._orders: asyncio.Queue[RenderSegment | FinishAudio] = asyncio.Queue()
        self._audio: dict[str, UtteranceAudio] = {}
        self._claims: dict[str, Claim] = {}
        self._stop_waiting: dict[str, Callable[[], object]] = {}

    def submit(self, order: Order) -> None:
        """Take an order."""
        match order:
            case DiscardAudio(utterance_id=utterance_id):
                self._forget(utterance_id)
            case RenderSegment() | FinishAudio():
                if order.utterance_id not in self._audio:
                    self._open(order.utterance_id, order.config)
                self._orders.put_nowait(order)

    def _open(self, utterance_id: str, config: SessionConfig) -> None:
        self._audio[utterance_id] = UtteranceAudio(config.audio_format, lambda: self._engine.utterance(config))
        self._claims[utterance_id] = self._engine.residency.claim(self._engine.speech_modules(config.model))

    def _forget(self, utterance_id: str) -> None:
        audio = self._audio.pop(utterance_id, None)
        if audio is not None:
            audio.discard()
            self._claims.pop(utterance_id).release()
        stop_waiting = self._stop_waiting.pop(utterance_id, None)
        if stop_waiting is not None:
            stop_waiting()

    async def run(self) -> None:
        """Carry out orders until cancelled."""
        try:
            while True:
                order = await self._orders.get()
                audio = self._audio.get(order.utterance_id)
                if audio is not None:
                    await self._carry_out(order, audio)
        finally:
            for utterance_id in tuple(self._audio):
                self._forget(utterance_id)

    async def _carry_out(self, order: RenderSegment | FinishAudio, audio: UtteranceAudio) -> None:
        try:
            if isinstance(order, RenderSegment):
                await self._segment(order, audio)
            else:
                await self._finish(order, audio)
        except StepAbandonedError:
            assert audio.discarded
        except GreenroomError as error:
            self._failed(order.utterance_id, error)
        except Exception:
            log.exception("render_failed", utterance_id=order.utterance_id)
            self._failed(order.utterance_id, ServiceError(Reason.ENGINE_FAULT, "the speech engine failed; see its log"))

    def _failed(self, utterance_id: str, error: GreenroomError) -> None:
        self._forget(utterance_id)
        self._emit(RenderFailed(utterance_id=utterance_id, error=error))

    async def _segment(self, order: RenderSegment, audio: UtteranceAudio) -> None:
        segment = audio.begin_segment(order.segment, order.index)
        compute_seconds = 0.0
        while (modules := segment.speech.next_modules) and not audio.discarded:
            _, seconds = await self._step(order, modules, lambda leased: audio.advance(segment, leased))
            compute_seconds += seconds
            self._tell_span(order, audio, segment)
            compute_seconds += await self._drain(order, audio)
        if not audio.discarded:
            start, end = audio.span(segment)
            self._emit(
                SegmentMade(
                    utterance_id=order.utterance_id,
                    segment=order.segment,
                    sample_start=start,
                    sample_end=end,
                    compute_seconds=compute_seconds,
                    outcome=segment.speech.outcome,
                )
            )

    def _tell_span(self, order: RenderSegment, audio: UtteranceAudio, segment: SegmentAudio) -> None:
        """Say where a segment's audio is, as soon as there is any."""
        if audio.sounds(segment) and not audio.discarded:
            start, end = audio.span(segment)
            self._emit(
                SegmentSpoken(
                    utterance_id=order.utterance_id, segment=order.segment, sample_start=start, sample_end=end
                )
            )

    async def _finish(self, order: FinishAudio, audio: UtteranceAudio) -> None:
        audio.finish()
        compute_seconds = await self._drain(order, audio)
        if not audio.discarded:
            piece = audio.last_piece()
            self._forget(order.utterance_id)
            self._emit(AudioFinished(utterance_id=order.utterance_id, piece=piece, compute_seconds=compute_seconds))

    async def _drain(self, order: RenderSegment | FinishAudio, audio: UtteranceAudio) -> float:
        """Bring out every piece that can be made now; return the seconds computed."""
        compute_seconds = 0.0
        while audio.has_piece:
            piece, seconds = await self._step(
                order, _MARKING, lambda leased: audio.next_piece(leased[WATERMARK_ENCODER])
            )
            compute_seconds += seconds
            if piece is None:
                break
            self._made(order, audio, piece)
        return compute_seconds

    def _made(self, order: RenderSegment | FinishAudio, audio: UtteranceAudio, piece: EncodedPiece) -> None:
        if not audio.discarded:
            self._emit(AudioMade(utterance_id=order.utterance_id, piece=piece))

    async def _step(
        self, order: RenderSegment | FinishAudio, modules: frozenset[ModuleName], step: Callable[[Modules], Result]
    ) -> tuple[Result, float]:
        utterance_id = order.utterance_id

        def on_wait(stop: Callable[[], object]) -> None:
            self._stop_waiting[utterance_id] = stop

        try:
            return await self._engine.step(
                modules,
                step,
                on_restore=lambda name, expected_seconds: self._emit(
                    RestoreAwaited(utterance_id=utterance_id, module=name, expected_seconds=expected_seconds)
                ),
                on_start=lambda: self._emit(RenderStarted(utterance_id=utterance_id)),
                on_wait=on_wait,
            )
        finally:
            self._stop_waiting.pop(utterance_id, None)

    def __repr__(self) -> str:
        return f"<Renderer {self._orders.qsize()} orders | {len(self._audio)} utterances>"
