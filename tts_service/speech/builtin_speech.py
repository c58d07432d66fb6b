"""The built-in voice as a speech model: a segment is one step of one module."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tts_service.speech.session_config import SessionConfig
from tts_service.speech.speech_model import Lane, Modules, PrepareStep, Stage
from tts_service.speech.speech_outcome import SpeechOutcome
from tts_service.speech.watermark import WatermarkStream
from tts_service.types import VOICE, WATERMARK_ENCODER, Segment, Waveform


class Voice(Protocol):
    """What speaks: `voice` under a lease."""

    def synthesize(self, text: str, *, seed: int, speaking_rate: float) -> Waveform:
        """Return the speech of the text; empty if there is nothing to say."""
        ...


class BuiltinSpeech:
    """Speech with the built-in voice."""

    modules = (VOICE,)
    step_modules = (frozenset({VOICE}), frozenset({WATERMARK_ENCODER}))

    def prepare_steps(self) -> Sequence[PrepareStep]:
        """Return nothing: there is nothing to prepare."""
        return ()

    def utterance(self, config: SessionConfig) -> "BuiltinUtterance":
        """Begin an utterance."""
        return BuiltinUtterance(config)

    def __repr__(self) -> str:
        return "<BuiltinSpeech>"


class BuiltinUtterance:
    """One utterance with the built-in voice: its segments share nothing but the configuration."""

    def __init__(self, config: SessionConfig) -> None:
        self._config = config

    def segment(self, segment: Segment, index: int, *, in_turns: bool = False) -> "BuiltinSegment":
        """Begin to speak a segment; it has one stage, which has its turn anyway."""
        del in_turns
        return BuiltinSegment(
            segment.text.strip(),
            seed=segment_seed(self._config.seed, index),
            speaking_rate=self._config.speaking_rate,
        )

    def marks(self) -> WatermarkStream:
        """Begin to mark the utterance's audio."""
        return WatermarkStream()

    def __repr__(self) -> str:
        return f"<BuiltinUtterance {self._config.voice}>"


class BuiltinSegment:
    """One segment and its one stage: spoken whole in one step, which cannot be interrupted."""

    lane = Lane.SOUND
    modules = frozenset({VOICE})
    outcome = SpeechOutcome()
    welcomes_next = False

    def __init__(self, text: str, *, seed: int, speaking_rate: float) -> None:
        self.ended = False
        self._text = text
        self._seed = seed
        self._speaking_rate = speaking_rate

    @property
    def stages(self) -> Sequence[Stage]:
        """Itself."""
        return (self,)

    @property
    def has_step(self) -> bool:
        """Whether it is to come."""
        return not self.ended

    def step(self, leased: Modules) -> Waveform:
        """Speak it."""
        voice: Voice = leased[VOICE]
        wave = voice.synthesize(self._text, seed=self._seed, speaking_rate=self._speaking_rate)
        self.ended = True
        return np.asarray(wave, np.float32)

    def cancel(self) -> None:
        """Take no step any more."""
        self.ended = True

    def __repr__(self) -> str:
        return f"<BuiltinSegment {len(self._text)} characters | {'spoken' if self.ended else 'to come'}>"


def segment_seed(seed: int, index: int) -> int:
    """Return the seed of an utterance's segment: counter-based, so that segments do not depend on each other."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0] >> np.uint64(1))
