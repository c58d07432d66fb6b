"""Resampling of whole recordings, as upstream does it before its encoders."""

import math

import numpy as np
import soxr

from tts_service.types import Waveform


def resampled(samples: Waveform, from_hertz: int, to_hertz: int) -> Waveform:
    """Return samples at another rate as `librosa.resample` does, to its last sample: soxr HQ, the length rounded up."""
    if from_hertz == to_hertz:
        return samples
    made: Waveform = soxr.resample(samples, from_hertz, to_hertz, quality="HQ")
    length = math.ceil(len(samples) * to_hertz / from_hertz)
    return np.pad(made[:length], (0, max(0, length - len(made))))
