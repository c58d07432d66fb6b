"""Where speech goes and how it is coded, from what was typed; and the header of a WAV file."""

import io
import wave
from pathlib import Path

import pytest

from greenroom_client.command.plan import Destination, plan_output
from greenroom_client.command.problems import UsageError
from greenroom_client.command.wav import HEADER_BYTES, UNKNOWN_LENGTH, wav_header
from greenroom_client.config import Encoding


@pytest.mark.parametrize(
    ("name", "asked", "encoding", "wav"),
    [
        ("a.wav", None, Encoding.PCM_S16LE, True),
        ("A.WAV", Encoding.WAV, Encoding.PCM_S16LE, True),
        ("a.flac", None, Encoding.FLAC, False),
        ("a.ogg", None, Encoding.OGG_OPUS, False),
        ("a.opus", Encoding.OGG_OPUS, Encoding.OGG_OPUS, False),
        ("a.raw", None, Encoding.PCM_S16LE, False),
        ("a.pcm", Encoding.MULAW, Encoding.MULAW, False),
        ("a.raw", Encoding.PCM_F32LE, Encoding.PCM_F32LE, False),
        ("noname", Encoding.WAV, Encoding.PCM_S16LE, True),
        ("a.mp3", Encoding.ALAW, Encoding.ALAW, False),
    ],
)
def test_file_is_coded_by_its_suffix_or_as_asked(
    name: str,
    asked: Encoding | None,
    encoding: Encoding,
    wav: bool,  # noqa: FBT001 - From the table.
    tmp_path: Path,
) -> None:
    """The suffix decides, unless it says nothing or allows what was asked for."""
    plan = plan_output(str(tmp_path / name), play=False, encoding=asked, force=False)

    assert (Destination.FILE, encoding, wav) == (plan.destination, plan.encoding, plan.wav_header)
    assert (encoding is Encoding.FLAC) == plan.needs_whole_text


@pytest.mark.parametrize(
    ("asked", "encoding", "wav"),
    [
        (None, Encoding.PCM_S16LE, True),
        (Encoding.PCM_S16LE, Encoding.PCM_S16LE, False),
        (Encoding.OGG_OPUS,) * 2 + (False,),
    ],
)
def test_standard_output_says_what_it_is_unless_asked_otherwise(
    asked: Encoding | None,
    encoding: Encoding,
    wav: bool,  # noqa: FBT001 - From the table.
) -> None:
    """A pipe gets WAV, so that its reader knows the rate; raw samples for who asks."""
    plan = plan_output("-", play=False, encoding=asked, force=False)

    assert (Destination.STREAM, encoding, wav) == (plan.destination, plan.encoding, plan.wav_header)


@pytest.mark.parametrize("play", [True, False])
def test_sound_device_is_where_speech_goes_without_an_output(play: bool) -> None:  # noqa: FBT001 - From the table.
    """No output means listening."""
    plan = plan_output(None, play=play, encoding=None, force=False)

    assert (Destination.SOUND_DEVICE, Encoding.PCM_S16LE) == (plan.destination, plan.encoding)
    assert "the sound device" == plan.name


def test_device_file_is_written_as_a_stream() -> None:
    """What is no ordinary file is neither replaced nor renamed onto."""
    plan = plan_output("/dev/null", play=False, encoding=None, force=False)

    assert Destination.STREAM is plan.destination
    assert Path("/dev/null") == plan.path


@pytest.mark.parametrize(
    ("name", "play", "asked", "complaint"),
    [
        ("a.mp3", False, None, "cannot tell the coding"),
        ("a", False, None, "cannot tell the coding"),
        ("a.wav", False, Encoding.MULAW, r"\.wav file cannot hold mulaw"),
        ("a.flac", False, Encoding.WAV, r"\.flac file cannot hold wav"),
        ("a.raw", False, Encoding.OGG_OPUS, r"\.raw file cannot hold ogg_opus"),
        ("a.wav", True, None, "exclude each other"),
        (".", False, None, "is a folder"),
        (None, False, Encoding.MULAW, "s16le only"),
    ],
)
def test_output_that_cannot_be_is_refused(
    name: str | None,
    play: bool,  # noqa: FBT001 - From the table.
    asked: Encoding | None,
    complaint: str,
    tmp_path: Path,
) -> None:
    """Contradictions are found before anything is spoken."""
    output = None if name is None else str(tmp_path / name)

    with pytest.raises(UsageError, match=complaint):
        plan_output(output, play=play, encoding=asked, force=False)


def test_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    """Nothing is overwritten by accident."""
    path = tmp_path / "a.wav"
    path.touch()

    with pytest.raises(UsageError, match="exists") as caught:
        plan_output(str(path), play=False, encoding=None, force=False)
    assert "--force" in caught.value.hint
    assert plan_output(str(path), play=False, encoding=None, force=True).force


def test_wav_header_is_understood_by_a_reader() -> None:
    """Rate, width, channels and length are where readers look for them."""
    samples = bytes(2 * 100)

    with wave.open(io.BytesIO(wav_header(16_000, len(samples)) + samples)) as reader:
        assert (16_000, 2, 1, 100) == (
            reader.getframerate(),
            reader.getsampwidth(),
            reader.getnchannels(),
            reader.getnframes(),
        )


@pytest.mark.parametrize("data_bytes", [None, 2**32, 2**40])
def test_wav_header_of_unknown_or_excessive_length_says_the_most(data_bytes: int | None) -> None:
    """Streams, and files beyond the format's 4 GiB, are read to their end by players."""
    header = wav_header(24_000, data_bytes)

    assert HEADER_BYTES == len(header)
    assert UNKNOWN_LENGTH == int.from_bytes(header[40:], "little") == int.from_bytes(header[4:8], "little")
