"""Samples as bytes: rounding, clipping, and G.711 against its own tables and another codec."""

import io
from bisect import bisect_right
from itertools import accumulate

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tts_service.speech.pcm_samples import alaw_bytes, f32le_bytes, mulaw_bytes, s16le_bytes

EVERY_S16 = np.arange(-32768, 32768, dtype=np.int32)

# G.711, tables 1a and 2a: the widths of the quantising intervals, in units of 1/4096 and 1/8159 of the largest value.
ALAW_BOUNDS = [0, *accumulate([2] * 32 + [width for power in range(2, 8) for width in [2**power] * 16])]
MULAW_BOUNDS = [0, *accumulate([1] + [2] * 15 + [width for power in range(2, 9) for width in [2**power] * 16])]


def test_16_bit_samples_are_rounded_to_the_nearest_and_clipped() -> None:
    """Full scale is 32768; nothing wraps."""
    units = np.array([0, 0.4, 0.6, -0.4, -0.6, 100.5, 101.5, 32767.4, 32768, 40000, -32768, -40000], np.float32)
    actual = np.frombuffer(s16le_bytes(units / 32768), "<i2").tolist()

    assert [0, 0, 1, 0, -1, 100, 102, 32767, 32767, 32767, -32768, -32768] == actual


def test_every_16_bit_value_survives() -> None:
    """What a reader divides by 32768 comes back as it was."""
    actual = np.frombuffer(s16le_bytes((EVERY_S16 / 32768).astype(np.float32)), "<i2")

    assert np.array_equal(EVERY_S16, actual)


def test_float_samples_are_clipped_and_otherwise_untouched() -> None:
    """Values in [-1, 1] keep every bit."""
    samples = np.array([0, 1e-30, -0.1, 1, -1, 1.5, -7], np.float32)
    actual = np.frombuffer(f32le_bytes(samples), "<f4")

    assert np.array_equal(np.array([0, 1e-30, -0.1, 1, -1, 1, -1], np.float32), actual)


def test_alaw_codes_are_those_of_the_standard() -> None:
    """Each 16-bit value falls into its interval of G.711's table 1a; even bits are inverted."""
    expected = [
        (bisect_right(ALAW_BOUNDS, (value if value >= 0 else ~value) >> 3) - 1 | (0x80 if value >= 0 else 0)) ^ 0x55
        for value in EVERY_S16.tolist()
    ]

    assert bytes(expected) == alaw_bytes((EVERY_S16 / 32768).astype(np.float32))


def test_mulaw_codes_are_those_of_the_standard() -> None:
    """Each 16-bit value falls into its interval of G.711's table 2a, overload into the last; all bits are inverted."""
    expected = [
        0xFF ^ (min(127, bisect_right(MULAW_BOUNDS, (value if value >= 0 else ~value) >> 2) - 1) | 0x80 * (value < 0))
        for value in EVERY_S16.tolist()
    ]

    assert bytes(expected) == mulaw_bytes((EVERY_S16 / 32768).astype(np.float32))


@pytest.mark.parametrize(("to_bytes", "subtype"), [(mulaw_bytes, "ULAW"), (alaw_bytes, "ALAW")])
def test_another_codec_hears_companded_samples_as_well_as_its_own(to_bytes: object, subtype: str) -> None:
    """Decoded by libsndfile, no value is further from the original than with libsndfile's own coder."""
    assert callable(to_bytes)
    file = io.BytesIO()
    soundfile.write(file, EVERY_S16.astype(np.int16), 8000, format="RAW", subtype=subtype)
    ours = decoded(to_bytes((EVERY_S16 / 32768).astype(np.float32)), subtype)
    theirs = decoded(file.getvalue(), subtype)

    assert np.all(np.abs(ours - EVERY_S16) <= np.abs(theirs - EVERY_S16))


def decoded(data: bytes, subtype: str) -> NDArray[np.int32]:
    """Return companded samples as libsndfile decodes them."""
    samples, _ = soundfile.read(
        io.BytesIO(data), dtype="int16", format="RAW", subtype=subtype, channels=1, samplerate=8000
    )
    return np.asarray(samples, np.int32)
