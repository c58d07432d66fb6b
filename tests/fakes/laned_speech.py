"""A speech model of two lanes that computes nothing: numbers for tokens, and a loud piece of sound for each of them.

It checks what real stages rely on: a lane's steps come one at a time and in order, with their module leased, and no
segment sounds before the one before it has ended.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from tts_service.speech.session_config import SessionConfig
from tts_service.speech.speech_model import Lane, Modules, PrepareStep, Stage
from tts_service.speech.speech_outcome import SpeechOutcome
from tts_service.speech.watermark import WatermarkStream
from tts_service.types import VOICE, WATERMARK_ENCODER, ModuleName, Segment, Waveform

TOKENS = ModuleName("tokens")
PIECE_SAMPLES = 4_000
AHEAD_MOST = 2

OnStep = Callable[[str], None]
"""Hears of each step as it begins, as "tokens 0.1": the stage, the segment and the number of the step."""


class LanedSpeech:
    """The model, and its one utterance; `counts` are the numbers of pieces of its segments."""

    modules = (TOKENS, VOICE)
    step_modules = (frozenset({TOKENS}), frozenset({VOICE}), frozenset({WATERMARK_ENCODER}))

    def __init__(self, *counts: int) -> None:
        self.counts = counts
        self.on_step: OnStep = lambda _: None
        self.steps: list[str] = []
        self.segments: list[LanedSegment] = []
        self.violations: list[str] = []
        self._busy = {lane: threading.Lock() for lane in Lane}

    def prepare_steps(self) -> Sequence[PrepareStep]:
        """Return nothing."""
        return ()

    def utterance(self, config: SessionConfig) -> "LanedSpeech":
        """Begin an utterance, from the first of the segments again."""
        del config
        return self

    def marks(self) -> WatermarkStream:
        """Begin to mark."""
        return WatermarkStream()

    def segment(self, segment: Segment, index: int, *, in_turns: bool = False) -> "LanedSegment":
        """Begin a segment."""
        del segment
        self.segments.append(LanedSegment(self, index, self.counts[index], most=None if in_turns else AHEAD_MOST))
        return self.segments[-1]

    @contextmanager
    def stepping(self, stage: "LanedStage", name: str) -> Iterator[None]:
        """Note a step, and what is wrong with it."""
        lock = self._busy[stage.lane]
        if not lock.acquire(blocking=False):
            self.violations.append(f"{name} beside another step of its lane")
            lock.acquire()
        self.steps.append(name)
        try:
            self.on_step(name)
            yield
        finally:
            lock.release()

    def __repr__(self) -> str:
        return f"<LanedSpeech {len(self.steps)} steps>"


class LanedSegment:
    """A segment of so many pieces."""

    def __init__(self, speech: LanedSpeech, index: int, count: int, *, most: int | None) -> None:
        self.speech = speech
        self.index = index
        self.count = count
        self.most = most
        self.cancelled = False
        self.waiting: deque[int] = deque()
        self.tokens = TokensStage(self)
        self.sound = SoundStage(self)
        self.stages: Sequence[Stage] = (self.tokens, self.sound)

    @property
    def welcomes_next(self) -> bool:
        """Whether its last token is being spoken."""
        return self.most is not None and self.tokens.ended and len(self.waiting) <= 1

    @property
    def outcome(self) -> SpeechOutcome:
        """How many tokens it has."""
        return SpeechOutcome(speech_tokens=self.tokens.done)

    def cancel(self) -> None:
        """End."""
        self.cancelled = True

    def __repr__(self) -> str:
        return f"<LanedSegment {self.index} {self.tokens.done} of {self.count} tokens | {len(self.waiting)} wait>"


class LanedStage:
    """What both stages have in common."""

    lane: Lane
    module: ModuleName

    def __init__(self, owner: LanedSegment) -> None:
        self.done = 0
        self._owner = owner
        self.modules = frozenset({self.module})

    def note(self, leased: Modules, name: str) -> str:
        """Check the lease; return the step's name."""
        if set(leased) != self.modules:
            self._owner.speech.violations.append(f"{name} without its module")
        return f"{name} {self._owner.index}.{self.done}"


class TokensStage(LanedStage):
    """Speaks a number at a time."""

    lane = Lane.TOKENS
    module = TOKENS

    @property
    def ended(self) -> bool:
        """Whether all are spoken."""
        return self._owner.cancelled or self.done >= self._owner.count

    @property
    def has_step(self) -> bool:
        """Whether it has not run ahead too far."""
        most = self._owner.most
        return not self.ended and (most is None or len(self._owner.waiting) < most)

    def step(self, leased: Modules) -> None:
        """Speak the next."""
        with self._owner.speech.stepping(self, self.note(leased, "tokens")):
            self._owner.waiting.append(self.done)
            self.done += 1


class SoundStage(LanedStage):
    """Makes a number's sound."""

    lane = Lane.SOUND
    module = VOICE

    @property
    def ended(self) -> bool:
        """Whether all of them have sounded."""
        return (self._owner.tokens.ended and not self._owner.waiting) or self._owner.cancelled

    @property
    def has_step(self) -> bool:
        """Whether a number waits."""
        return bool(self._owner.waiting) and not self._owner.cancelled

    def step(self, leased: Modules) -> Waveform:
        """Make the next sound."""
        speech = self._owner.speech
        with speech.stepping(self, self.note(leased, "sound")):
            if any(not before.sound.ended for before in speech.segments[: speech.segments.index(self._owner)]):
                speech.violations.append(f"segment {self._owner.index} sounds before its turn")
            number = self._owner.waiting.popleft()
            self.done += 1
            return np.full(PIECE_SAMPLES, (1 + self._owner.index * 16 + number) / 64, np.float32)
