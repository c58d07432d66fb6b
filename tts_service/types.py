"""Values of the speech path. Lengths are samples at the rate that the field names, text positions UTF-8 bytes."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NewType

import numpy as np
from numpy.typing import NDArray

MODEL_SAMPLE_RATE_HERTZ = 24_000
"""Rate of every waveform between the models and the encoder (Chatterbox's and the built-in voice's own)."""

ModuleName = NewType("ModuleName", str)

VOICE = ModuleName("voice")
WATERMARK_ENCODER = ModuleName("watermark.encoder")
WATERMARK_DETECTOR = ModuleName("watermark.detector")

Waveform = NDArray[np.float32]
"""Mono float32 samples in [-1, 1] at MODEL_SAMPLE_RATE_HERTZ, shape (samples,)."""


class Priority(Enum):
    """Whether somebody listens while speech is made."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Precision(StrEnum):
    """The type that a module's weights run in."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Encoding(Enum):
    """How audio is coded."""

    PCM_S16LE = "s16le"
    PCM_F32LE = "f32le"
    MULAW = "mulaw"
    ALAW = "alaw"
    OGG_OPUS = "ogg_opus"
    WAV = "wav"
    FLAC = "flac"


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioFormat:
    """A coded form of mono audio."""

    encoding: Encoding = Encoding.PCM_S16LE
    sample_rate_hertz: int = MODEL_SAMPLE_RATE_HERTZ


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPiece:
    """Coded bytes and the samples (at the format's rate) that they stand for."""

    data: bytes
    sample_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A speakable piece of an utterance: `text` is exactly the bytes [text_start, text_end) of its text."""

    text: str
    text_start: int
    text_end: int
