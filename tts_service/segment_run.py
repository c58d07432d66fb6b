"""What an order is to the engine: a segment's stages with their marking, or the end of an utterance's audio."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from tts_service.busy_time import BusyTime
from tts_service.engine import Engine
from tts_service.listening import Listening, Place
from tts_service.order_run import OrderRun
from tts_service.speech.pipeline import MarkingStage, SegmentAudio, UtteranceAudio
from tts_service.speech.rendering import (
    AudioMade,
    FinishAudio,
    RenderEvent,
    RenderSegment,
    RenderStarted,
    RestoreAwaited,
    SegmentMade,
    SegmentSpoken,
)
from tts_service.speech.speech_model import Lane, Modules, Stage
from tts_service.types import EncodedPiece, ModuleName

Tell = Callable[[RenderEvent], None]
"""Takes an event from any thread."""


class _Run(ABC):
    """What both have in common: who is told of what."""

    def __init__(
        self,
        engine: Engine,
        audio: UtteranceAudio,
        order: RenderSegment | FinishAudio,
        *,
        tell: Tell,
        busy: BusyTime,
        listening: Listening,
    ) -> None:
        self.lanes = OrderRun(engine, self, cancel=self._cancel)
        self._engine = engine
        self._audio = audio
        self._order = order
        self._utterance_id = order.utterance_id
        self._tell = tell
        self._busy = busy
        self._listening = listening
        self._is_started = False

    @abstractmethod
    def _cancel(self) -> None:
        """End what is being computed."""

    @abstractmethod
    def take(self, stage: Stage, leased: Modules) -> None:
        """Take a stage's next step, in a worker's thread."""

    def restoring(self, module: ModuleName, expected_seconds: float | None) -> None:
        """Say that a module is awaited."""
        self._is_started = False
        event = RestoreAwaited(utterance_id=self._utterance_id, module=module, expected_seconds=expected_seconds)
        self._tell(event)

    def _start(self) -> None:
        """Say, once and after every restore, that a place to compute was found."""
        if not self._is_started:
            self._is_started = True
            self._tell(RenderStarted(utterance_id=self._utterance_id))

    def _heard(self, piece: EncodedPiece) -> None:
        self._listening.made(piece.sample_count / self._audio.piece_rate_hertz, time.monotonic())
        self._tell(AudioMade(utterance_id=self._utterance_id, piece=piece))

    def _place(self, ordered_at: float) -> Place:
        return Place(listening=self._listening, ordered_at=ordered_at, busy=self._busy)


class SegmentRun(_Run):
    """A segment, from its first token to its last marked piece."""

    def __init__(
        self,
        engine: Engine,
        audio: UtteranceAudio,
        order: RenderSegment,
        *,
        tell: Tell,
        busy: BusyTime,
        listening: Listening,
    ) -> None:
        super().__init__(engine, audio, order, tell=tell, busy=busy, listening=listening)
        self._segment_order = order
        self._segment: SegmentAudio | None = None
        self._told: tuple[int, int] | None = None
        self._sounds = False

    def _cancel(self) -> None:
        if self._segment is not None:
            self._segment.speech.cancel()

    def welcomes_next(self) -> bool:
        """Tell whether the next segment may begin."""
        return self._segment is not None and self._segment.speech.welcomes_next

    async def run(self) -> None:
        """Speak it: what sounds waits until the lanes let it."""
        order, audio = self._segment_order, self._audio
        turns = self._engine.turns(order.config.model)
        if self.lanes.stopped:
            return
        if len(turns) == 1:
            self.lanes.place = self._place(time.monotonic() if order.heard is None else order.heard.ordered_at)
        segment = self._segment = audio.begin_segment(order.segment, order.index, in_turns=len(turns) > 1)
        try:
            spoken = segment.speech.stages
            stages = (*spoken, MarkingStage(audio, self._heard, spoken))
            # A stage in no turn would be left out, and the speech end early without a word.
            assert all(any(stage.modules <= modules for modules in turns) for stage in stages)
            for modules in turns:
                await self.lanes.through([stage for stage in stages if stage.modules <= modules], modules)
        finally:
            audio.end_segment(segment)

    def take(self, stage: Stage, leased: Modules) -> None:
        """Take a step, and say where the segment's audio is, as soon as there is any."""
        segment = self._segment
        assert segment is not None
        self._start()
        with self._busy.working():
            if not self._sounds and stage.lane is Lane.SOUND:
                self._sounds = True
                self._audio.begin_sound(segment)
            self._audio.advance(segment, stage, leased)
        if stage.lane is not Lane.SOUND or not self._audio.sounds(segment):
            return
        span = self._audio.span(segment)
        if span != self._told:
            self._told = span
            self._tell(
                SegmentSpoken(
                    utterance_id=self._utterance_id,
                    segment=self._segment_order.segment,
                    sample_start=span[0],
                    sample_end=span[1],
                )
            )

    def made(self, compute_seconds: float) -> SegmentMade:
        """Return what is to be told of it in the end."""
        segment, order = self._segment, self._segment_order
        assert segment is not None
        if not self._sounds:
            self._audio.begin_sound(segment)
        start, end = self._audio.span(segment)
        return SegmentMade(
            utterance_id=order.utterance_id,
            segment=order.segment,
            sample_start=start,
            sample_end=end,
            compute_seconds=compute_seconds,
            outcome=segment.speech.outcome,
        )

    def __repr__(self) -> str:
        return f"<SegmentRun {self._segment!r} | {self.lanes!r}>"


class FinishRun(_Run):
    """The end of an utterance's audio, after its segments."""

    def _cancel(self) -> None:
        """Do nothing: a piece takes milliseconds."""

    async def run(self) -> None:
        """Bring out what is withheld."""
        self._audio.finish()
        self.lanes.place = self._place(time.monotonic())
        self.lanes.let_sound()
        stage = MarkingStage(self._audio, self._heard)
        await self.lanes.through([stage], stage.modules)

    def take(self, stage: Stage, leased: Modules) -> None:
        """Take a step."""
        self._start()
        with self._busy.working():
            stage.step(leased)

    def __repr__(self) -> str:
        return f"<FinishRun of {self._audio!r} | {self.lanes!r}>"
