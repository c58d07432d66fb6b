"""A speech model that brings prepared waveforms, a piece a step, each under its own module."""

from collections.abc import Sequence

import numpy as np

from tts_service.speech.session_config import SessionConfig
from tts_service.speech.speech_model import Lane, Modules, PrepareStep, Stage
from tts_service.speech.speech_outcome import SpeechOutcome
from tts_service.speech.watermark import WatermarkStream
from tts_service.types import VOICE, WATERMARK_ENCODER, Segment, Waveform


class PreparedSegment:
    """A segment and its one stage, whose steps bring these pieces.

    It checks that its module is leased, and that nobody goes on after.
    """

    lane = Lane.SOUND
    modules = frozenset({VOICE})
    welcomes_next = False

    def __init__(self, pieces: Sequence[Waveform], outcome: SpeechOutcome) -> None:
        self.outcome = outcome
        self.cancelled = False
        self._pieces = list(pieces)

    @property
    def stages(self) -> Sequence[Stage]:
        """Itself."""
        return (self,)

    @property
    def ended(self) -> bool:
        """Whether no piece follows."""
        return self.cancelled or not self._pieces

    @property
    def has_step(self) -> bool:
        """Whether there are pieces."""
        return not self.ended

    def step(self, leased: Modules) -> Waveform:
        """Bring the next piece."""
        assert {VOICE} == set(leased)
        assert self._pieces, "the segment has ended"
        return np.asarray(self._pieces.pop(0), np.float32)

    def cancel(self) -> None:
        """Bring nothing any more."""
        self.cancelled = True

    def __repr__(self) -> str:
        return f"<PreparedSegment {len(self._pieces)} pieces to come>"


class PreparedSpeech:
    """A model and its one utterance at once: the segments' pieces, in the order in which segments begin."""

    modules = (VOICE,)
    step_modules = (frozenset({VOICE}), frozenset({WATERMARK_ENCODER}))

    def __init__(self, *segments: Sequence[Waveform], outcome: SpeechOutcome | None = None) -> None:
        self.begun: list[PreparedSegment] = []
        self._segments = list(segments)
        self._outcome = outcome or SpeechOutcome()

    def utterance(self, config: SessionConfig) -> "PreparedSpeech":
        """Begin an utterance."""
        del config
        return self

    def prepare_steps(self) -> Sequence[PrepareStep]:
        """Return nothing."""
        return ()

    def marks(self) -> WatermarkStream:
        """Begin to mark."""
        return WatermarkStream()

    def segment(self, segment: Segment, index: int, *, in_turns: bool = False) -> PreparedSegment:
        """Begin a segment."""
        del segment, index, in_turns
        self.begun.append(PreparedSegment(self._segments.pop(0), self._outcome))
        return self.begun[-1]

    def __repr__(self) -> str:
        return f"<PreparedSpeech {len(self._segments)} segments to come>"
