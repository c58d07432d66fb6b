"""Carries out one session's orders: segments in order, the next one's tokens while the last of this one is decoded."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

import structlog

from tts_service.abandonment import StepAbandonedError
from tts_service.busy_time import BusyTime
from tts_service.engine import Engine
from tts_service.engine_seam import Emit
from tts_service.errors import GreenroomError, Reason, ServiceError
from tts_service.listening import Listening
from tts_service.order_run import OrderRun
from tts_service.segment_run import FinishRun, SegmentRun, Tell
from tts_service.speech.pipeline import UtteranceAudio
from tts_service.speech.rendering import (
    AudioFinished,
    DiscardAudio,
    FinishAudio,
    NextWelcome,
    NoteHeard,
    Order,
    RenderEvent,
    RenderFailed,
    RenderSegment,
)
from tts_service.speech.session_config import SessionConfig
from tts_service.utterance_claim import UtteranceClaim

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class _Spoken:
    """An utterance that is being spoken: its audio, its claim, and what is under way for it."""

    audio: UtteranceAudio
    claim: UtteranceClaim
    busy: BusyTime
    listening: Listening
    tell: Tell
    runs: list[OrderRun] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ahead:
    """A segment that was begun before its turn."""

    order: RenderSegment
    run: SegmentRun
    task: asyncio.Task[None]


class Renderer:
    """Carries out one session's orders in their order; a discard takes effect at once.

    `run` is the session's task for it; `submit` may be called at any time from the same loop. Audio that is
    `carried` is coded by somebody else.
    """

    def __init__(self, engine: Engine, emit: Emit, *, carried: bool = False) -> None:
        self._engine = engine
        self._emit = emit
        self._carried = carried
        self._orders: deque[RenderSegment | FinishAudio] = deque()
        self._ordered = asyncio.Event()
        self._spoken: dict[str, _Spoken] = {}
        self._ahead: _Ahead | None = None
        self._welcoming: str | None = None
        """The utterance whose next segment may begin, while one of it is being made."""

    def submit(self, order: Order) -> None:
        """Take an order."""
        self._engine.spans.moment(type(order).__name__, on="session")
        match order:
            case DiscardAudio(utterance_id=utterance_id):
                self._forget(utterance_id)
            case NoteHeard(utterance_id=utterance_id, heard=heard):
                spoken = self._spoken.get(utterance_id)
                if spoken is not None and spoken.listening.ordered(heard):
                    self._engine.hurry()
            case RenderSegment() | FinishAudio():
                if order.utterance_id not in self._spoken:
                    self._open(order.utterance_id, order.config)
                if isinstance(order, RenderSegment) and order.heard is not None:
                    self._spoken[order.utterance_id].listening.ordered(order.heard)
                self._orders.append(order)
                self._ordered.set()
                self._begin_ahead()

    def _open(self, utterance_id: str, config: SessionConfig) -> None:
        audio = UtteranceAudio(config.audio_format, lambda: self._engine.utterance(config), carried=self._carried)
        loop = asyncio.get_running_loop()
        listening = Listening(config, now=time.monotonic())

        def say(event: RenderEvent) -> None:
            if not audio.discarded:
                self._engine.spans.moment(type(event).__name__, on="session")
                self._emit(event)

        def tell(event: RenderEvent) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(say, event)

        claim = self._engine.claim(config.model)
        listening.on_away, listening.on_back = claim.rest, claim.resume
        self._spoken[utterance_id] = _Spoken(
            audio=audio,
            claim=claim,
            busy=BusyTime(time.perf_counter),
            listening=listening,
            tell=tell,
        )

    def _forget(self, utterance_id: str) -> None:
        spoken = self._spoken.pop(utterance_id, None)
        if spoken is not None:
            spoken.audio.discard()
            spoken.claim.release()
            for run in spoken.runs:
                run.stop()

    def _begin_ahead(self) -> None:
        """Begin the next segment, if it is there and may begin."""
        order = self._orders[0] if self._orders else None
        if isinstance(order, RenderSegment) and order.utterance_id == self._welcoming and self._ahead is None:
            run = self._segment_run(order, self._spoken[order.utterance_id])
            self._ahead = _Ahead(order=order, run=run, task=asyncio.create_task(run.run()))

    async def run(self) -> None:
        """Carry out orders until cancelled."""
        try:
            while True:
                while not self._orders:
                    self._ordered.clear()
                    await self._ordered.wait()
                await self._carry_out(self._orders.popleft())
        finally:
            for utterance_id in tuple(self._spoken):
                self._forget(utterance_id)
            if self._ahead is not None:
                self._ahead.task.cancel()
                await asyncio.gather(self._ahead.task, return_exceptions=True)

    async def _carry_out(self, order: RenderSegment | FinishAudio) -> None:
        spoken = self._spoken.get(order.utterance_id)
        try:
            if isinstance(order, FinishAudio):
                if spoken is not None:
                    await self._finish(order, spoken)
            else:
                await self._segment(order, spoken)
        except StepAbandonedError:
            assert spoken is None or spoken.audio.discarded
        except GreenroomError as error:
            self._failed(order.utterance_id, error)
        except Exception:
            log.exception("render_failed", utterance_id=order.utterance_id)
            self._failed(order.utterance_id, ServiceError(Reason.ENGINE_FAULT, "the speech engine failed; see its log"))

    def _failed(self, utterance_id: str, error: GreenroomError) -> None:
        """Say that an utterance has failed, unless nobody wants it any more."""
        if utterance_id in self._spoken:
            self._forget(utterance_id)
            self._emit(RenderFailed(utterance_id=utterance_id, error=error))

    def _segment_run(self, order: RenderSegment, spoken: _Spoken) -> SegmentRun:
        run = SegmentRun(
            self._engine, spoken.audio, order, tell=spoken.tell, busy=spoken.busy, listening=spoken.listening
        )
        spoken.runs.append(run.lanes)
        return run

    async def _segment(self, order: RenderSegment, spoken: _Spoken | None) -> None:
        ahead, self._ahead = self._ahead, None
        assert ahead is None or ahead.order is order
        if spoken is None:
            if ahead is not None:
                await ahead.task
            return
        run = self._segment_run(order, spoken) if ahead is None else ahead.run
        run.lanes.let_sound()
        welcome = asyncio.create_task(self._welcome(order.utterance_id, run))
        try:
            await (run.run() if ahead is None else ahead.task)
        finally:
            welcome.cancel()
            self._welcoming = None
        spoken.runs.remove(run.lanes)
        if not spoken.audio.discarded:
            self._emit(run.made(spoken.busy.taken()))

    async def _welcome(self, utterance_id: str, run: SegmentRun) -> None:
        """Begin the utterance's next segment as soon as that is welcome, or say so."""
        if await run.lanes.until(run.welcomes_next):
            self._welcoming = utterance_id
            if self._orders:
                self._begin_ahead()
            else:
                self._emit(NextWelcome(utterance_id=utterance_id))

    async def _finish(self, order: FinishAudio, spoken: _Spoken) -> None:
        run = FinishRun(
            self._engine, spoken.audio, order, tell=spoken.tell, busy=spoken.busy, listening=spoken.listening
        )
        spoken.runs.append(run.lanes)
        await run.run()
        if not spoken.audio.discarded:
            piece = spoken.audio.last_piece()
            self._forget(order.utterance_id)
            seconds = spoken.busy.taken()
            self._emit(AudioFinished(utterance_id=order.utterance_id, piece=piece, compute_seconds=seconds))

    def __repr__(self) -> str:
        return f"<Renderer {len(self._orders)} orders | {len(self._spoken)} utterances>"


class LocalSpeech:
    """The engine of this process, as sessions know it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def prefetch(self, model: str) -> None:
        """Have modules come, because speech with a model will be wanted soon."""
        self._engine.prefetch(model)

    def renderer(self, emit: Emit) -> Renderer:
        """Return what carries out a new session's orders."""
        return Renderer(self._engine, emit)

    def __repr__(self) -> str:
        return f"<LocalSpeech of {self._engine!r}>"
