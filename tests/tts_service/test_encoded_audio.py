"""Encoded audio in every format: what is accepted, exact lengths, first pieces, flushes, broken samples."""

import io
import subprocess
import sys
import wave

import numpy as np
import pytest
import soxr

from tests.fakes.arrivals import in_pieces
from tests.fakes.waves import speechlike
from tts_service.errors import CallerError, Reason, ServiceError
from tts_service.speech.decoded_audio import decode_audio
from tts_service.speech.encoded_audio import AudioEncoder, check_format, withheld_samples
from tts_service.types import AudioFormat, EncodedPiece, Encoding, Waveform

FORMATS = [
    AudioFormat(encoding=encoding, sample_rate_hertz=rate_hertz)
    for encoding in Encoding
    for rate_hertz in (8_000, 8_001, 16_000, 24_000, 44_100, 48_000)
    if encoding is not Encoding.OGG_OPUS or rate_hertz % 1_000 == 0
]
HEADERLESS_AT_MODEL_RATE = [Encoding.PCM_S16LE, Encoding.PCM_F32LE, Encoding.MULAW, Encoding.ALAW]


def named(audio_format: AudioFormat) -> str:
    """Return a format's name in test ids."""
    return f"{audio_format.encoding.value}-{audio_format.sample_rate_hertz}"


def encoded(waveform: Waveform, audio_format: AudioFormat, size: int = 960) -> list[EncodedPiece]:
    """Return all pieces of a waveform that comes in writes of this size."""
    encoder = AudioEncoder(audio_format)
    return [*(encoder.write(piece) for piece in in_pieces(waveform, size)), encoder.finish()]


@pytest.mark.parametrize(
    ("encoding", "rate_hertz", "streaming", "field"),
    [
        (Encoding.PCM_S16LE, 8_000, True, None),
        (Encoding.WAV, 48_000, True, None),
        (Encoding.ALAW, 7_999, True, "audio_format.sample_rate_hertz"),
        (Encoding.PCM_F32LE, 48_001, False, "audio_format.sample_rate_hertz"),
        (Encoding.PCM_F32LE, 0, False, "audio_format.sample_rate_hertz"),
        (Encoding.PCM_S16LE, -24_000, False, "audio_format.sample_rate_hertz"),
        (Encoding.OGG_OPUS, 12_000, True, None),
        (Encoding.OGG_OPUS, 44_100, True, "audio_format.sample_rate_hertz"),
        (Encoding.FLAC, 44_100, False, None),
        (Encoding.FLAC, 24_000, True, "audio_format.encoding"),
    ],
)
def test_format_is_accepted_or_its_field_is_named(
    encoding: Encoding, rate_hertz: int, field: str | None, *, streaming: bool
) -> None:
    """Rates are 8 to 48 kHz, Opus has five, FLAC is not for sessions."""
    audio_format = AudioFormat(encoding=encoding, sample_rate_hertz=rate_hertz)
    if field is None:
        check_format(audio_format, streaming=streaming)
        return
    with pytest.raises(CallerError) as refusal:
        check_format(audio_format, streaming=streaming)

    assert (Reason.BAD_CONFIG, field) == (refusal.value.reason, refusal.value.violations[0].field)


@pytest.mark.parametrize("audio_format", FORMATS, ids=named)
@pytest.mark.parametrize("length", [0, 1, 7_001])
def test_pieces_count_the_exact_length(audio_format: AudioFormat, length: int) -> None:
    """Samples add up to the waveform's length at the format's rate, and a decoder hears as many."""
    pieces = encoded(speechlike(length), audio_format)
    expected = int(length * audio_format.sample_rate_hertz / 24_000 + 0.5)
    heard = decoded_length(b"".join(piece.data for piece in pieces), audio_format)

    assert (expected, expected) == (sum(piece.sample_count for piece in pieces), heard)


def decoded_length(data: bytes, audio_format: AudioFormat) -> int:
    """Return how many samples at the format's rate are heard; 0 where there are none."""
    try:
        return round(len(decode_audio(data, audio_format, max_seconds=10)) * audio_format.sample_rate_hertz / 24_000)
    except CallerError:
        return 0


@pytest.mark.parametrize("audio_format", FORMATS, ids=named)
def test_decoded_audio_is_the_resampled_audio(audio_format: AudioFormat) -> None:
    """What is heard equals the clip at the format's rate, as closely as the format can."""
    waveform = speechlike(12_000)
    data = b"".join(piece.data for piece in encoded(waveform, audio_format))
    heard = decode_audio(data, audio_format, max_seconds=10)
    there = soxr.resample(waveform, 24_000, audio_format.sample_rate_hertz)
    back = np.pad(soxr.resample(there, audio_format.sample_rate_hertz, 24_000), (0, 3))
    error = np.sqrt(np.mean((back[: len(heard)] - heard) ** 2) / np.mean(waveform**2))
    bounds = {Encoding.OGG_OPUS: 0.2, Encoding.MULAW: 0.02, Encoding.ALAW: 0.02}

    assert error < bounds.get(audio_format.encoding, 2e-4)


@pytest.mark.parametrize("audio_format", FORMATS, ids=named)
def test_first_piece_can_be_played(audio_format: AudioFormat) -> None:
    """The first bytes that leave hold their header and audio, and decode on their own."""
    first = next(piece for piece in encoded(speechlike(12_000), audio_format) if piece.data)

    assert first.sample_count > 0
    assert len(decode_audio(first.data, audio_format, max_seconds=10)) > 0


@pytest.mark.parametrize("audio_format", FORMATS, ids=named)
@pytest.mark.parametrize("length", [4_801, 9_600])
def test_everything_audible_has_left_after_a_pause(audio_format: AudioFormat, length: int) -> None:
    """Speech and a pause as long as what may wait: all of the speech is out, without a finish."""
    encoder = AudioEncoder(audio_format)
    pause = np.zeros(withheld_samples(audio_format), np.float32)
    sent = sum(encoder.write(piece).sample_count for piece in in_pieces(np.append(speechlike(length), pause), 499))

    assert sent >= length * audio_format.sample_rate_hertz / 24_000


@pytest.mark.parametrize("encoding", HEADERLESS_AT_MODEL_RATE)
def test_nothing_waits_at_the_models_rate(encoding: Encoding) -> None:
    """Without resampling and container, each write leaves to the last sample."""
    audio_format = AudioFormat(encoding=encoding)
    counts = [piece.sample_count for piece in encoded(speechlike(1_000), audio_format, size=333)]

    assert ([333, 333, 333, 1, 0], 0) == (counts, withheld_samples(audio_format))


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_sample_that_is_no_number_is_our_fault_and_is_not_sent(encoding: Encoding, broken: float) -> None:
    """The write fails as a whole, and the encoder goes on as if it had not been."""
    waveform = speechlike(960)
    encoder, untouched = (AudioEncoder(AudioFormat(encoding=encoding)) for _ in range(2))
    with pytest.raises(ServiceError) as failure:
        encoder.write(np.append(waveform, np.float32(broken)))

    assert Reason.ENGINE_FAULT is failure.value.reason
    assert untouched.write(waveform) == encoder.write(waveform)


@pytest.mark.parametrize("audio_format", FORMATS, ids=named)
def test_samples_beyond_full_scale_are_clipped(audio_format: AudioFormat) -> None:
    """Four times too loud is heard as clipped, not as wrapped, and its peaks keep their sign."""
    waveform = speechlike(12_000, peak=4.0)
    data = b"".join(piece.data for piece in encoded(waveform, audio_format))
    heard = decode_audio(data, audio_format, max_seconds=10)[: len(waveform)]
    loud = np.flatnonzero(np.abs(waveform[: len(heard)]) > 3.5)

    assert np.array_equal(np.sign(waveform[loud]), np.sign(heard[loud]))
    assert len(loud) > 5


def test_codec_that_takes_more_than_full_scale_gets_clipped_samples() -> None:
    """Opus codes the clipped waveform, not what its decoders would make of the loud one."""
    audio_format = AudioFormat(encoding=Encoding.OGG_OPUS)
    loud = speechlike(4_800, peak=4.0)

    assert encoded(np.clip(loud, -1, 1), audio_format) == encoded(loud, audio_format)


def test_streamed_wav_can_be_read_by_the_standard_library() -> None:
    """The header says mono, 16 bits and the rate, and its unknown lengths are the largest there are."""
    data = b"".join(piece.data for piece in encoded(speechlike(960), AudioFormat(encoding=Encoding.WAV)))
    with wave.open(io.BytesIO(data)) as reader:
        shape = reader.getnchannels(), reader.getsampwidth(), reader.getframerate()

    assert (1, 2, 24_000) == shape
    assert b"\xff\xff\xff\xff" == data[4:8] == data[40:44]
    assert 44 + 2 * 960 == len(data)


def test_repr_shows_format_and_samples() -> None:
    """The state is visible in one line."""
    encoder = AudioEncoder(AudioFormat(encoding=Encoding.MULAW, sample_rate_hertz=24_000))
    encoder.write(np.zeros(480, np.float32))

    assert "<AudioEncoder mulaw 24000 Hz | 480 samples in, 480 out>" == repr(encoder)


THREADS = """
import os
import numpy as np
from tts_service.speech.decoded_audio import decode_audio
from tts_service.speech.encoded_audio import AudioEncoder
from tts_service.types import AudioFormat, Encoding
def threads():
    return len(os.listdir("/proc/self/task"))
tone, before = np.full(24_000, 0.1, np.float32), threads()
formats = [AudioFormat(encoding=each, sample_rate_hertz=48_000) for each in (Encoding.OGG_OPUS, Encoding.FLAC)]
streams = [AudioEncoder(each) for each in formats * 4]
coded = [each.write(tone).data + each.finish().data for each in streams]
assert all(len(decode_audio(data, each, max_seconds=9.0)) == 24_000 for data, each in zip(coded, formats))
print(threads() - before)
"""


def test_streams_have_no_threads_of_their_own() -> None:
    """FFmpeg would make a pool for each, with a thread for every processor."""
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=False, timeout=60)

    assert (0, "0\n") == (done.returncode, done.stdout), done.stderr
