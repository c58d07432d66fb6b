"""Samples as bytes without a header: 16-bit, float, and the two companded forms of ITU-T G.711.

All are little-endian, clipped to full scale and free of dither, so that equal samples give equal bytes.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tts_service.types import Waveform

_S16_SCALE = 32768.0
_MULAW_BIAS = 33
_MULAW_MAX = 8191


def s16le_bytes(samples: Waveform) -> bytes:
    """Return 16-bit samples, rounded to the nearest."""
    return s16_samples(samples).astype("<i2").tobytes()


def f32le_bytes(samples: Waveform) -> bytes:
    """Return 32-bit floats in [-1, 1]."""
    return np.clip(samples, -1.0, 1.0).astype("<f4").tobytes()


def mulaw_bytes(samples: Waveform) -> bytes:
    """Return mu-law codes, one byte a sample."""
    return _mulaw_codes()[s16_samples(samples).view(np.uint16)].tobytes()


def alaw_bytes(samples: Waveform) -> bytes:
    """Return A-law codes, one byte a sample."""
    return _alaw_codes()[s16_samples(samples).view(np.uint16)].tobytes()


def s16_samples(samples: Waveform) -> NDArray[np.int16]:
    """Return 16-bit samples as an array, rounded to the nearest and clipped."""
    rounded = np.rint(samples * np.float32(_S16_SCALE))
    whole: NDArray[np.int16] = np.clip(rounded, -_S16_SCALE, _S16_SCALE - 1).astype(np.int16)
    return whole


def _all_s16() -> NDArray[np.int32]:
    """Return the value of every 16-bit pattern, in the order of the patterns."""
    return np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)


def _magnitudes(values: NDArray[np.int32], bits_dropped: int) -> NDArray[np.int32]:
    """Return magnitudes with fewer bits. One's complement makes the two signs mirror each other (ITU-T G.191)."""
    return np.where(values < 0, ~values, values) >> bits_dropped


def _bit_lengths(values: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.frexp(values.astype(np.float64))[1].astype(np.int32)


@lru_cache(maxsize=1)
def _mulaw_codes() -> NDArray[np.uint8]:
    """Return the code of every 16-bit pattern: 14-bit magnitude with a bias, 3-bit segment, 4-bit step, inverted."""
    values = _all_s16()
    biased = np.minimum(_magnitudes(values, 2) + _MULAW_BIAS, _MULAW_MAX)
    segments = _bit_lengths(biased) - 6
    steps = (biased >> (segments + 1)) & 0xF
    codes: NDArray[np.uint8] = (np.where(values < 0, 0x7F, 0xFF) - (segments << 4 | steps)).astype(np.uint8)
    return codes


@lru_cache(maxsize=1)
def _alaw_codes() -> NDArray[np.uint8]:
    """Return the code of every 16-bit pattern: 12-bit magnitude, 3-bit segment, 4-bit step, even bits inverted."""
    values = _all_s16()
    magnitudes = _magnitudes(values, 4)
    segments = np.maximum(_bit_lengths(magnitudes) - 4, 0)
    steps = (magnitudes >> np.maximum(segments - 1, 0)) & 0xF
    codes: NDArray[np.uint8] = ((np.where(values < 0, 0, 0x80) | segments << 4 | steps) ^ 0x55).astype(np.uint8)
    return codes
