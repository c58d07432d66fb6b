"""Audio that is uploaded: its coding is told where it can be, asked for where it cannot."""

from pathlib import Path

import pytest

from greenroom_client.config import Encoding
from greenroom_client.uploads import PIECE_BYTES, coding_of, is_repeatable, pieces_of_bytes


@pytest.mark.parametrize(
    ("source", "encoding"),
    [
        ("speech.wav", Encoding.WAV),
        (Path("SPEECH.FLAC"), Encoding.FLAC),
        ("a.b.opus", Encoding.OGG_OPUS),
        (b"RIFF....WAVE", Encoding.WAV),
        (b"fLaC", Encoding.FLAC),
        (b"OggS", Encoding.OGG_OPUS),
    ],
)
def test_coding_is_told_from_a_suffix_or_the_first_bytes(source: object, encoding: Encoding) -> None:
    """Files that say what they are need no help."""
    assert encoding is coding_of(source)


@pytest.mark.parametrize("source", ["speech.raw", "speech", b"", b"\x00\x00", [b"RIFF"]])
def test_coding_that_cannot_be_told_is_asked_for(source: object) -> None:
    """Nothing is guessed about raw samples."""
    with pytest.raises(ValueError, match="pass encoding="):
        coding_of(source)


def test_bytes_are_cut_into_pieces_that_fit_a_message() -> None:
    """The pieces are bounded and together the whole."""
    data = bytes(range(256)) * 1024

    pieces = list(pieces_of_bytes(data))

    assert data == b"".join(pieces)
    assert PIECE_BYTES == max(map(len, pieces))


def test_only_sources_that_can_be_read_twice_are_repeated() -> None:
    """An iterator is sent once."""
    assert is_repeatable("a.wav")
    assert is_repeatable(b"RIFF")
    assert not is_repeatable(iter([b"RIFF"]))
