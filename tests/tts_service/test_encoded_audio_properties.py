"""Encoded audio does not depend on how the waveform was cut, and keeps its watermark."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.arrivals import cut_at, cuts, in_pieces
from tests.fakes.real_watermarker import detector, encoder
from tests.fakes.spoken import spoken
from tests.fakes.waves import speechlike
from tts_service.speech.decoded_audio import decode_audio
from tts_service.speech.encoded_audio import AudioEncoder
from tts_service.speech.ogg_opus import OPUS_RATES_HERTZ
from tts_service.types import AudioFormat, Encoding, Waveform

CONTAINERS = (Encoding.OGG_OPUS, Encoding.FLAC)


@st.composite
def formats(draw: st.DrawFn) -> AudioFormat:
    """Return any format that audio can be coded in."""
    encoding = draw(st.sampled_from(Encoding))
    rates = st.sampled_from([8_000, 16_000, 24_000, 44_100, 48_000]) | st.integers(8_000, 48_000)
    rate_hertz = draw(st.sampled_from(OPUS_RATES_HERTZ) if encoding is Encoding.OGG_OPUS else rates)
    return AudioFormat(encoding=encoding, sample_rate_hertz=rate_hertz)


def coded(pieces: list[Waveform], audio_format: AudioFormat) -> bytes:
    """Return the bytes of a waveform that comes in these pieces."""
    audio = AudioEncoder(audio_format)
    return b"".join([*(audio.write(piece).data for piece in pieces), audio.finish().data])


@settings(deadline=None, max_examples=80)
@given(data=st.data(), audio_format=formats(), length=st.integers(100, 8_000))
def test_audio_does_not_depend_on_how_it_arrives(data: st.DataObject, audio_format: AudioFormat, length: int) -> None:
    """Any chunking gives the bytes of one write; containers, its decoded samples."""
    waveform = speechlike(length)
    once = coded([waveform], audio_format)
    cut = coded(cut_at(waveform, data.draw(cuts(length))), audio_format)
    if audio_format.encoding in CONTAINERS:
        expected, actual = (decode_audio(audio, audio_format, max_seconds=1) for audio in (once, cut))

        assert np.array_equal(expected, actual)
    else:
        assert once == cut


@pytest.mark.parametrize(
    ("encoding", "rate_hertz"),
    [
        *((Encoding.OGG_OPUS, rate_hertz) for rate_hertz in OPUS_RATES_HERTZ),
        (Encoding.MULAW, 8_000),
        (Encoding.ALAW, 8_000),
    ],
)
def test_watermark_survives_coding(encoding: Encoding, rate_hertz: int) -> None:
    """The detector is as sure of coded speech as of the original."""
    audio_format = AudioFormat(encoding=encoding, sample_rate_hertz=rate_hertz)
    marked = encoder().mark(spoken("The quick brown fox jumps over the lazy dog, and nobody knows why."))
    heard = decode_audio(coded(in_pieces(marked, 960), audio_format), audio_format, max_seconds=10)

    assert detector().score(heard) > 0.97
