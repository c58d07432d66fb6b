"""Reference audio: a recording of one speaker, read, mixed down, checked, and at the models' rate.

Each check answers with what to do about it, because whoever records a voice seldom knows about audio. The samples are
those that upstream's own reader gives (`librosa.load`): soxr at its high quality, and not clipped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from tts_service.errors import CallerError, Reason
from tts_service.speech.decoded_audio import open_recording, unreadable_is_bad_audio
from tts_service.speech.reference_resampling import resampled
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, Waveform

RATE_RANGE_HERTZ: Final = (8_000, 48_000)

FULL_SCALE: Final = 0.999
"""The last of 16 bits below 1; what was recorded too loud stands there for many samples in a row."""
MAX_CLIPPED_SHARE: Final = 0.01
"""A sine 6 dB too loud clips two thirds of its samples; speech mastered right up to full scale less than 0.1 %."""

FRAME_SECONDS: Final = 0.02
AUDIBLE_LEVEL: Final = 0.00316
"""-50 dB of full scale, the root of the mean square of a frame: a room's noise in a decent recording is below it."""
MIN_AUDIBLE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceLimits:
    """How long reference audio may be. Upstream's Turbo asserts 5 s, and no model uses more than a minute."""

    min_seconds: float = 5.0
    max_seconds: float = 60.0


REFERENCE_LIMITS: Final = ReferenceLimits()


def read_reference(data: bytes, limits: ReferenceLimits = REFERENCE_LIMITS) -> Waveform:
    """Return a recording's samples, mono at 24 kHz, not clipped. Raises CallerError BAD_AUDIO that says the way out."""
    if not data:
        raise _bad_audio("there is no audio: send the recording's bytes after the spec")
    with unreadable_is_bad_audio():
        rate_hertz, blocks = open_recording(data)
        _check_rate(rate_hertz)
        samples, clipped_share = _mixed_down(_bounded(blocks, rate_hertz, limits))
    seconds = len(samples) / rate_hertz
    if seconds < limits.min_seconds:
        raise _bad_audio(
            f"the recording lasts {seconds:.3g} s; a voice needs {limits.min_seconds:g} to {limits.max_seconds:g} s of "
            "one speaker: record more"
        )
    if clipped_share > MAX_CLIPPED_SHARE:
        raise _bad_audio(
            f"the recording is clipped ({clipped_share:.0%} of its samples are at full scale): lower the recording "
            "level and record again"
        )
    _check_audible(samples, rate_hertz)
    return resampled(samples, rate_hertz, MODEL_SAMPLE_RATE_HERTZ)


def _bad_audio(message: str) -> CallerError:
    return CallerError(Reason.BAD_AUDIO, message)


def _check_rate(rate_hertz: int) -> None:
    low, high = RATE_RANGE_HERTZ
    if not low <= rate_hertz <= high:
        raise _bad_audio(f"the sample rate is {rate_hertz} Hz: convert the recording to {low} to {high} Hz")


def _bounded(blocks: Iterator[Waveform], rate_hertz: int, limits: ReferenceLimits) -> Iterator[Waveform]:
    """Yield blocks until there are too many: a small file may unfold to hours."""
    frames = 0
    for block in blocks:
        frames += len(block)
        if frames > limits.max_seconds * rate_hertz:
            raise _bad_audio(
                f"the recording is longer than {limits.max_seconds:g} s: cut out 10 to 20 s of clear speech"
            )
        yield block


def _mixed_down(blocks: Iterator[Waveform]) -> tuple[Waveform, float]:
    """Return the channels' average, and the share of frames in which any channel is at full scale."""
    mono = [np.zeros(0, np.float32)]
    clipped_frames = 0
    for block in blocks:
        if not np.isfinite(block).all():
            raise _bad_audio("some samples are not numbers (NaN or infinite): export the recording again")
        clipped_frames += int((np.abs(block).max(axis=1) >= FULL_SCALE).sum())
        mono.append(block.mean(axis=1, dtype=np.float32))
    samples = np.concatenate(mono)
    return samples, clipped_frames / max(1, len(samples))


def _check_audible(samples: Waveform, rate_hertz: int) -> None:
    """Raise if there is nothing to hear for most of the time; a constant is not heard either."""
    length = round(FRAME_SECONDS * rate_hertz)
    frames = samples[: len(samples) // length * length].reshape(-1, length)
    audible_seconds = FRAME_SECONDS * float((frames.std(axis=1, dtype=np.float64) > AUDIBLE_LEVEL).sum())
    if audible_seconds < MIN_AUDIBLE_SECONDS:
        raise _bad_audio(
            f"the recording is silent: {audible_seconds:.1f} s of it can be heard, at least {MIN_AUDIBLE_SECONDS:g} s "
            "must be; check the microphone and its level"
        )
