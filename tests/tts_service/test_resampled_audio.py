"""A waveform at another rate: equal to the whole clip's, of exact length, and withholding no more than it says."""

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.arrivals import cut_at, cuts, in_pieces
from tests.fakes.waves import speechlike
from tts_service.speech.resampled_audio import ResampledAudio, resampling_withholds_seconds
from tts_service.types import Waveform

RATES_HERTZ = st.sampled_from([8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000]) | st.integers(8_000, 48_000)


def resampled(pieces: list[Waveform], rate_hertz: int) -> Waveform:
    """Return everything that comes out for audio that comes in these pieces."""
    stream = ResampledAudio(rate_hertz)
    return np.concatenate([*(stream.write(piece) for piece in pieces), stream.finish()])


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(0, 9_000), RATES_HERTZ)
def test_any_chunking_gives_the_samples_of_the_whole_clip(data: st.DataObject, length: int, rate_hertz: int) -> None:
    """Piece by piece, a clip becomes what soxr makes of it at once."""
    wave = speechlike(length)
    actual = resampled(cut_at(wave, data.draw(cuts(length))), rate_hertz)
    expected = soxr.resample(wave, 24_000, rate_hertz) if rate_hertz != 24_000 else wave

    assert np.array_equal(expected, actual[: len(expected)])


@settings(deadline=None, max_examples=100)
@given(length=st.integers(0, 3_000), rate_hertz=RATES_HERTZ)
def test_length_is_exact(length: int, rate_hertz: int) -> None:
    """The output is as long as the input, rounded to whole samples, halves up."""
    actual = len(resampled([np.zeros(length, np.float32)], rate_hertz))

    assert int(length * rate_hertz / 24_000 + 0.5) == actual


def test_half_a_sample_is_rounded_up() -> None:
    """Left to itself, soxr rounds this one down; positions that are told to clients must not depend on that."""
    assert 368 == len(resampled([np.zeros(200, np.float32)], 44_100))


@pytest.mark.parametrize(
    "rate_hertz",
    [*(8_000, 8_001, 8_150, 8_201, 11_025, 12_000, 12_001, 16_000, 16_069, 16_294, 16_401), *(22_050, 24_000, 48_000)],
)
def test_no_more_is_withheld_than_is_said(rate_hertz: int) -> None:
    """At every moment, the output is behind the input by at most the bound."""
    stream = ResampledAudio(rate_hertz)
    samples_in = samples_out = 0
    behind = 0.0
    for piece in in_pieces(np.zeros(16_000, np.float32), 61):
        samples_in += len(piece)
        samples_out += len(stream.write(piece))
        behind = max(behind, samples_in / 24_000 - samples_out / rate_hertz)

    assert behind <= resampling_withholds_seconds(rate_hertz)


def test_repr_shows_what_came_and_went() -> None:
    """The state is visible in one line."""
    stream = ResampledAudio(24_000)
    stream.write(np.zeros(480, np.float32))

    assert "<ResampledAudio 24000 Hz | 480 samples in, 480 out>" == repr(stream)
