"""Audio from callers: every form that is read, and every way in which it can be bad."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.waves import speechlike
from tts_service.errors import CallerError, Reason
from tts_service.speech.decoded_audio import decode_audio
from tts_service.speech.encoded_audio import AudioEncoder
from tts_service.types import AudioFormat, Encoding, Waveform

WAVE = speechlike(12_000)
FILES = {Encoding.WAV: "WAV", Encoding.FLAC: "FLAC", Encoding.OGG_OPUS: "OGG"}


def file_of(samples: Waveform, encoding: Encoding, rate_hertz: int = 24_000, subtype: str | None = None) -> bytes:
    """Return samples as a file that another program wrote."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hertz, format=FILES[encoding], subtype=subtype)
    return file.getvalue()


def ours(encoding: Encoding, samples: Waveform = WAVE) -> bytes:
    """Return samples as the service sends them."""
    encoder = AudioEncoder(AudioFormat(encoding=encoding))
    return encoder.write(samples).data + encoder.finish().data


def decoded(data: bytes, encoding: Encoding, max_seconds: float = 10) -> Waveform:
    """Decode with the default rate."""
    return decode_audio(data, AudioFormat(encoding=encoding), max_seconds=max_seconds)


def likeness(heard: Waveform) -> float:
    """Return how much audio is like the original, up to 1."""
    assert len(heard) == len(WAVE)
    return float(np.corrcoef(heard, WAVE)[0, 1])


@pytest.mark.parametrize("encoding", Encoding)
def test_own_formats_are_read(encoding: Encoding) -> None:
    """Whatever the service sends, it can check for a watermark."""
    assert likeness(decoded(ours(encoding), encoding)) > 0.97


@pytest.mark.parametrize(
    ("encoding", "subtype"),
    [
        (Encoding.WAV, "PCM_16"),
        (Encoding.WAV, "PCM_24"),
        (Encoding.WAV, "FLOAT"),
        (Encoding.WAV, "DOUBLE"),
        (Encoding.WAV, "ULAW"),
        (Encoding.FLAC, "PCM_16"),
        (Encoding.FLAC, "PCM_24"),
        (Encoding.OGG_OPUS, "OPUS"),
        (Encoding.OGG_OPUS, "VORBIS"),
    ],
)
def test_files_of_other_programs_are_read(encoding: Encoding, subtype: str) -> None:
    """Each common kind of file is read in full."""
    assert likeness(decoded(file_of(WAVE, encoding, subtype=subtype), encoding)) > 0.97


@pytest.mark.parametrize("encoding", [Encoding.WAV, Encoding.FLAC])
def test_two_channels_are_averaged(encoding: Encoding) -> None:
    """The sides of a stereo file are mixed with equal weight."""
    stereo = np.stack([WAVE, 0.5 * speechlike(12_000, seed=2)], axis=1)
    heard = decoded(file_of(stereo, encoding), encoding)

    assert np.allclose(stereo.mean(axis=1), heard, atol=1e-4)


def test_file_has_its_own_rate() -> None:
    """The rate of a file's header counts, not the format's; other rates are resampled."""
    data = file_of(np.zeros(44_100, np.float32), Encoding.WAV, 44_100)

    assert 24_000 == len(decoded(data, Encoding.WAV))


def test_samples_without_a_header_have_the_formats_rate() -> None:
    """Eight thousand samples at 8 kHz are a second."""
    audio_format = AudioFormat(encoding=Encoding.MULAW, sample_rate_hertz=8_000)

    assert 24_000 == len(decode_audio(bytes(8_000), audio_format, max_seconds=2))


@pytest.mark.parametrize("encoding", [Encoding.PCM_S16LE, Encoding.PCM_F32LE, Encoding.WAV])
def test_torn_last_sample_is_dropped(encoding: Encoding) -> None:
    """A stream that ends inside a sample is read up to there."""
    whole = ours(encoding)

    assert np.array_equal(decoded(whole, encoding), decoded(whole + b"\x01", encoding))


@pytest.mark.parametrize("encoding", [Encoding.WAV, Encoding.FLAC, Encoding.OGG_OPUS])
def test_stream_that_ends_early_is_read_as_far_as_it_goes(encoding: Encoding) -> None:
    """Where no length is declared, the end of the bytes is the end."""
    data = ours(encoding)
    heard = decoded(data[: len(data) * 2 // 3], encoding)

    assert len(WAVE) / 3 < len(heard) < len(WAVE)


def test_loud_samples_are_clipped() -> None:
    """A float file beyond full scale is brought back into [-1, 1]."""
    heard = decoded(file_of(3 * WAVE, Encoding.WAV, subtype="FLOAT"), Encoding.WAV)

    assert 1.0 == np.abs(heard).max()


def test_samples_as_large_as_floats_go_are_clipped() -> None:
    """The average of two huge channels is full scale."""
    huge = np.full((2_400, 2), 3e38, np.float32)

    assert 1.0 == decoded(file_of(huge, Encoding.WAV, subtype="FLOAT"), Encoding.WAV).min()


def cut_wav() -> bytes:
    """Return a WAV file that declares more than it holds."""
    return file_of(WAVE, Encoding.WAV)[:9_000]


def cut_wav_with_odd_chunk() -> bytes:
    """Return the same with a chunk of odd length, which is padded, before the samples."""
    whole = file_of(WAVE, Encoding.WAV)
    return whole[:36] + b"note\x03\x00\x00\x00abc\x00" + whole[36:9_000]


def cut_flac() -> bytes:
    """Return a FLAC file that declares more than it holds."""
    whole = file_of(WAVE, Encoding.FLAC)
    return whole[: len(whole) * 2 // 3]


def many_channels() -> bytes:
    """Return a file for a room full of loudspeakers."""
    return file_of(np.zeros((100, 6), np.float32), Encoding.WAV)


BAD: list[tuple[Encoding, Callable[[], bytes], str]] = [
    *((encoding, lambda: b"", "there is no audio") for encoding in Encoding),
    (Encoding.PCM_S16LE, lambda: b"\x01", "there is not one whole sample"),
    (Encoding.WAV, lambda: ours(Encoding.WAV)[:44], "there is not one whole sample"),
    (Encoding.WAV, lambda: ours(Encoding.WAV)[:30], "the audio cannot be read"),
    (Encoding.WAV, lambda: b"RIFF" + bytes(100), "the audio cannot be read"),
    (Encoding.WAV, lambda: file_of(WAVE, Encoding.FLAC), "this is not WAV audio"),
    (Encoding.FLAC, lambda: ours(Encoding.FLAC)[:20], "the audio cannot be read"),
    (Encoding.FLAC, lambda: b"fLaC" + bytes(200), "the audio cannot be read"),
    (Encoding.FLAC, lambda: ours(Encoding.WAV), "this is not FLAC audio"),
    (Encoding.OGG_OPUS, lambda: ours(Encoding.OGG_OPUS)[:60], "the audio cannot be read"),
    (Encoding.OGG_OPUS, lambda: b"hello" * 20, "this is not Ogg audio"),
    (Encoding.WAV, cut_wav, "the WAV file is cut short"),
    (Encoding.WAV, cut_wav_with_odd_chunk, "the WAV file is cut short"),
    (Encoding.FLAC, cut_flac, "the FLAC file is cut short"),
    (Encoding.WAV, many_channels, "audio must have one or two channels, was 6"),
    (Encoding.WAV, lambda: file_of(WAVE, Encoding.WAV, 4_000), "the sample rate must be 8000 to 192000 Hz, was 4000"),
    (Encoding.PCM_F32LE, lambda: np.array([0, np.nan], "<f4").tobytes(), "some samples are not numbers"),
    (Encoding.PCM_F32LE, lambda: np.array([0, -np.inf], "<f4").tobytes(), "some samples are not numbers"),
]


@pytest.mark.parametrize(("encoding", "make", "message"), BAD)
def test_bad_audio_is_the_callers_fault(encoding: Encoding, make: Callable[[], bytes], message: str) -> None:
    """Each way of being unreadable has its own words."""
    with pytest.raises(CallerError) as failure:
        decoded(make(), encoding)

    assert Reason.BAD_AUDIO is failure.value.reason
    assert message in failure.value.message


@pytest.mark.parametrize("encoding", Encoding)
def test_audio_over_the_limit_is_refused(encoding: Encoding) -> None:
    """The limit is on what unfolds, so that a small file of hours is not read to its end; at the limit is fine."""
    data = ours(encoding, np.zeros(24_000, np.float32))
    with pytest.raises(CallerError) as failure:
        decoded(data, encoding, max_seconds=0.999)

    assert "the audio is longer than 0.999 s" == failure.value.message
    assert 24_000 == len(decoded(data, encoding, max_seconds=1))


@settings(deadline=None, max_examples=150)
@given(data=st.data(), encoding=st.sampled_from([Encoding.WAV, Encoding.FLAC, Encoding.OGG_OPUS]))
def test_damaged_file_is_read_or_refused(data: st.DataObject, encoding: Encoding) -> None:
    """Whatever bytes come, the answer is sound audio within the limit or BAD_AUDIO."""
    source = bytearray(data.draw(st.sampled_from([ours(encoding, WAVE[:3_000]), file_of(WAVE[:3_000], encoding)])))
    for place in data.draw(st.lists(st.integers(0, len(source) - 1) | st.integers(4, 90), max_size=8)):
        source[place] = data.draw(st.integers(0, 255))
    damaged = bytes(source[: data.draw(st.integers(1, len(source)))])
    reason, heard = Reason.BAD_AUDIO, np.zeros(1, np.float32)
    try:
        heard = decoded(damaged, encoding)
    except CallerError as error:
        reason = error.reason

    assert Reason.BAD_AUDIO is reason
    assert 0 < len(heard) <= 240_000
    assert np.abs(heard).max() <= 1.0
