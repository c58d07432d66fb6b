"""Reference audio: every kind that is taken, and each thing that can be wrong with a recording."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.recordings import CODECS, recording, sound_file
from tts_service.errors import CallerError, Reason
from tts_service.speech.reference_audio import ReferenceLimits, read_reference
from tts_service.speech.reference_resampling import resampled
from tts_service.types import Waveform

SECOND = 24_000
GOOD = recording(6)


def refusal(data: bytes) -> str:
    """Return what the caller of a bad recording is told."""
    with pytest.raises(CallerError) as caught:
        read_reference(data)
    assert Reason.BAD_AUDIO is caught.value.reason
    return caught.value.message


def likeness(heard: Waveform, wanted: Waveform) -> float:
    """Return how much audio is like other audio, up to 1."""
    length = min(len(heard), len(wanted))
    return float(np.corrcoef(heard[:length], wanted[:length])[0, 1])


@pytest.mark.parametrize("codec", CODECS)
def test_every_kind_of_file_is_read(codec: str) -> None:
    """WAV, FLAC, Opus, Vorbis and MP3 are told apart by their first bytes."""
    heard = read_reference(sound_file(GOOD, codec))

    assert np.float32 == heard.dtype
    assert len(GOOD) == pytest.approx(len(heard), abs=2_000)
    assert likeness(heard, GOOD) > 0.95 or codec == "mp3"  # MP3 begins later, by its encoder's delay.


@pytest.mark.parametrize("rate_hertz", [8_000, 16_000, 44_100, 48_000])
def test_every_rate_comes_out_at_24_khz(rate_hertz: int) -> None:
    """The length in seconds stays, rounded up to a sample."""
    frames = round(6.0301 * rate_hertz)
    heard = read_reference(sound_file(recording(13)[:frames], "wav", rate_hertz))

    assert -(-frames * SECOND // rate_hertz) == len(heard)


def test_two_channels_are_mixed_with_equal_weight() -> None:
    """A stereo recording is its channels' average."""
    other = recording(6, seed=5)
    heard = read_reference(sound_file(np.stack([GOOD, other], axis=1), "float"))

    assert np.allclose((GOOD + other) / 2, heard, atol=1e-6)


def test_samples_a_little_over_full_scale_are_left_as_they_are() -> None:
    """A decoder may overshoot; cutting that off would add what the speaker did not say."""
    loud = GOOD.copy()
    loud[1000] = 1.2

    assert 1.2 == pytest.approx(float(read_reference(sound_file(loud, "float"))[1000]))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "there is no audio"),
        (b"hello, I am a text" * 1000, "no audio that is read here"),
        (b"%PDF-1.7" + bytes(9_000), "no audio that is read here"),
        (b"ID3" + bytes(5_000), "cannot be read"),
        (b"RIFF\x00\x10\x00\x00WAVE" + bytes(4_096), "cannot be read"),
        (sound_file(GOOD)[:100_000], "cut short"),
        (sound_file(recording(0.1)), "lasts 0.1 s; a voice needs 5 to 60 s"),
        (sound_file(recording(4.99)), "lasts 4.99 s"),
        (sound_file(np.zeros(6 * SECOND, np.float32)), "silent"),
        (sound_file(0.001 * GOOD), "silent"),
        (sound_file(np.full(6 * SECOND, 0.3, np.float32)), "silent"),
        (sound_file(np.concatenate([recording(0.5), np.zeros(6 * SECOND, np.float32)])), "silent"),
        (sound_file(np.clip(5 * GOOD, -1, 1)), "clipped"),
        (sound_file(20_000 * GOOD, "float"), "clipped"),
        (sound_file(np.where(np.arange(len(GOOD)) == 9, np.nan, GOOD).astype(np.float32), "float"), "not numbers"),
        (sound_file(GOOD, "wav", 96_000), "sample rate is 96000 Hz"),
        (sound_file(np.stack([GOOD] * 3, axis=1)), "one or two channels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_recording_is_refused_with_a_reason(data: bytes, words: str) -> None:
    """Whatever is wrong is said, as the caller's fault."""
    assert words in refusal(data)


@pytest.mark.parametrize("codec", ["flac", "opus"])
def test_ten_minutes_are_refused_without_being_unfolded(codec: str) -> None:
    """A small file of ten minutes is too long; reading stops at the bound."""
    data = sound_file(np.zeros(600 * 8_000, np.float32), codec, 8_000)

    assert "longer than 60 s" in refusal(data)


def test_one_clipped_channel_of_two_is_noticed() -> None:
    """Mixing hides that a channel was at full scale."""
    assert "clipped" in refusal(sound_file(np.stack([np.clip(5 * GOOD, -1, 1), 0 * GOOD], axis=1)))


def test_limits_are_the_operators() -> None:
    """Other bounds can be set."""
    limits = ReferenceLimits(min_seconds=0.5, max_seconds=2)

    assert SECOND == len(read_reference(sound_file(recording(1)), limits))
    with pytest.raises(CallerError, match="longer than 2 s"):
        read_reference(sound_file(recording(3)), limits)


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=400), st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"RF64"]))
def test_any_bytes_are_refused_as_the_callers_fault(data: bytes, beginning: bytes) -> None:
    """No bytes that are no recording bring anything else about than BAD_AUDIO."""
    assert refusal(beginning + data)


def test_resampled_has_the_length_rounded_up() -> None:
    """One sample more than a fraction, as upstream's resampling has."""
    assert [1, 1, 2, 667] == [len(resampled(np.zeros(n, np.float32), SECOND, 16_000)) for n in (1, 1, 2, 1000)]
