"""Text for `tts-say`: read as it comes, checked, cut into what one utterance holds."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom_client.command.problems import TextError, UsageError
from greenroom_client.command.text import (
    Cutter,
    checked_argument,
    cut,
    decoded,
    pieces_of_descriptor,
    text_source,
    without_leading_space,
)

texts = st.text(st.characters(codec="utf-8"), max_size=60)


def sliced(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """Yield bytes in pieces whose ends are given in any order."""
    ends = sorted({end % (len(data) + 1) for end in cuts} | {len(data)})
    start = 0
    for end in ends:
        yield data[start:end]
        start = end


@settings(max_examples=150, deadline=None)
@given(texts, st.lists(st.integers(0, 300), max_size=8))
def test_text_is_the_same_however_its_bytes_arrive(text: str, cuts: list[int]) -> None:
    """Characters that are cut between two reads are put together again."""
    arrived = "".join(decoded(sliced(text.encode(), cuts), "it"))

    assert text.removeprefix("\ufeff") == arrived


@settings(max_examples=100, deadline=None)
@given(texts.filter(lambda text: not text.startswith("\ufeff")), st.lists(st.integers(0, 300), max_size=8))
def test_byte_that_is_no_text_is_named_with_its_position(text: str, cuts: list[int]) -> None:
    """Wherever the reads end, the message counts from the beginning of the input."""
    good = text.encode()

    with pytest.raises(TextError, match=rf"it is not UTF-8 text: byte 0xff at position {len(good)}$"):
        list(decoded(sliced(good + b"\xff and more", cuts), "it"))


def test_input_that_ends_inside_a_character_is_no_text() -> None:
    """Half a character at the end is an error, not dropped."""
    with pytest.raises(TextError, match="byte 0xc3 at position 2"):
        list(decoded([b"ab", b"\xc3"], "it"))


@pytest.mark.parametrize(
    ("pieces", "rest"),
    [
        (["  \n", "\t a ", " b"], ["a ", " b"]),
        (["a", " "], ["a", " "]),
        ([" ", "\n"], []),
        ([], []),
    ],
)
def test_leading_white_space_is_no_text(pieces: list[str], rest: list[str]) -> None:
    """What comes before the first word is dropped; a blank input is an empty one."""
    assert rest == list(without_leading_space(pieces))


@settings(max_examples=150, deadline=None)
@given(st.lists(texts, max_size=10), st.integers(4, 40))
def test_utterances_fit_the_limit_and_lose_nothing(pieces: list[str], limit_bytes: int) -> None:
    """Joined, the utterances are the text; none exceeds the limit; each holds something."""
    cutter = Cutter([piece for piece in pieces if piece], limit_bytes)
    utterances = []
    while cutter.has_more():
        utterances.append("".join(cutter.utterance()))

    assert "".join(pieces) == "".join(utterances)
    assert all(0 < len(utterance.encode()) <= limit_bytes for utterance in utterances)


@pytest.mark.parametrize(
    ("text", "room_bytes", "at_word", "head"),
    [
        ("one two", 7, False, "one two"),
        ("one two", 6, False, "one "),
        ("one\ntwo three", 9, False, "one\ntwo "),
        ("unbroken", 4, False, "unbr"),
        ("unbroken", 4, True, ""),
        ("äää", 3, False, "ä"),
    ],
)
def test_text_is_cut_between_words_where_there_are_any(
    text: str,
    room_bytes: int,
    at_word: bool,  # noqa: FBT001 - From the table.
    head: str,
) -> None:
    """A word is cut only if it fills an utterance by itself; a character never."""
    assert (head, text[len(head) :]) == cut(text, room_bytes, at_word=at_word)


def test_text_comes_from_the_arguments_or_a_file(tmp_path: Path) -> None:
    """Words are joined by blanks; a file is read; both at once are refused."""
    path = tmp_path / "a.txt"
    path.write_text("\n From a file.")

    assert ["two words"] == list(text_source(["two", "words"], None))
    assert ["From a file."] == list(text_source([], str(path)))
    with pytest.raises(UsageError, match="not both"):
        text_source(["word"], str(path))


@pytest.mark.parametrize("name", ["nothing.txt", "."])
def test_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    """A missing file or a folder is an error that says so."""
    with pytest.raises(TextError, match="cannot read"):
        list(text_source([], str(tmp_path / name)))


@pytest.mark.parametrize(("text", "complaint"), [(" \n", "nothing to say"), ("a\udcff", "not UTF-8, at character 1")])
def test_argument_that_cannot_be_spoken_is_refused(text: str, complaint: str) -> None:
    """Blank arguments, and bytes that the shell could not decode, are found before anything is sent."""
    with pytest.raises(TextError, match=complaint):
        checked_argument(text)


def test_pipe_is_read_as_soon_as_it_holds_something() -> None:
    """Each write is passed on as it is; the end of the pipe is the end."""
    reader, writer = os.pipe()
    pieces = pieces_of_descriptor(reader)
    os.write(writer, b"first")
    first = next(pieces)
    os.write(writer, b"second")
    os.close(writer)
    rest = list(pieces)
    os.close(reader)

    assert (b"first", [b"second"]) == (first, rest)


def test_input_that_cannot_be_read_is_an_error() -> None:
    """A folder as standard input is told, not crashed on."""
    folder = os.open("/", os.O_RDONLY)
    try:
        with pytest.raises(TextError, match="cannot read standard input"):
            next(pieces_of_descriptor(folder))
    finally:
        os.close(folder)
