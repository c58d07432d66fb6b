"""Text from an argument, a file or a pipe, as it comes; checked, and cut into what one utterance may hold."""

import codecs
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from greenroom_client.command.problems import TextError, UsageError

STDIN = "-"
STDIN_DESCRIPTOR = 0
NOTHING_TO_SAY = "there is nothing to say: the text is empty"
READ_BYTES = 64 * 1024


def text_source(words: list[str], file: str | None) -> Iterator[str]:
    """Return the text as it comes, without leading white space, from the arguments, a file or standard input.

    Raises UsageError or TextError, also while it is iterated over.
    """
    if words and file is not None:
        raise UsageError("give a text or --file, not both")
    if words and words != [STDIN]:
        return without_leading_space([checked_argument(" ".join(words))])
    if file is not None and file != STDIN:
        return without_leading_space(decoded(pieces_of_file(Path(file)), file))
    return without_leading_space(decoded(pieces_of_descriptor(STDIN_DESCRIPTOR), "standard input"))


def checked_argument(text: str) -> str:
    """Return the argument. Raises TextError if it is blank, or if the shell passed bytes that are no UTF-8."""
    if not text.strip():
        raise TextError(NOTHING_TO_SAY)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(f"the text is not UTF-8, at character {error.start}") from None
    return text


def pieces_of_file(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes. Raises TextError where it cannot be read."""
    try:
        with path.open("rb") as file:
            yield from iter(lambda: file.read(READ_BYTES), b"")
    except OSError as error:
        raise TextError(f"cannot read {path}: {error.strerror}") from error


def pieces_of_descriptor(descriptor: int) -> Iterator[bytes]:
    """Yield what a pipe holds as soon as it holds something, to its end. Raises TextError where it cannot be read."""
    try:
        while piece := os.read(descriptor, READ_BYTES):
            yield piece
    except OSError as error:
        raise TextError(f"cannot read standard input: {error.strerror}") from error


def decoded(pieces: Iterable[bytes], name: str) -> Iterator[str]:
    """Yield UTF-8 bytes as text, whole characters only. Raises TextError that says where they are none."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    taken_bytes = 0
    for piece in _and_end(pieces):
        # Bytes of a character that is not complete yet stand in the decoder, before this piece.
        held_bytes = len(decoder.getstate()[0])
        try:
            text = decoder.decode(piece or b"", final=piece is None)
        except UnicodeDecodeError as error:
            position = taken_bytes - held_bytes + error.start
            raise TextError(
                f"{name} is not UTF-8 text: byte {error.object[error.start]:#04x} at position {position}",
                hint="Convert it first, for example with iconv.",
            ) from None
        taken_bytes += len(piece or b"")
        if text:
            yield text


def _and_end(pieces: Iterable[bytes]) -> Iterator[bytes | None]:
    yield from pieces
    yield None


def without_leading_space(texts: Iterable[str]) -> Iterator[str]:
    """Yield the text from its first character that is no white space; nothing if there is none."""
    begun = False
    for text in texts:
        rest = text if begun else text.lstrip()
        if rest:
            begun = True
            yield rest


class Cutter:
    """Hands a stream of text out as utterances that each fit the service's limit, cut between words.

    Use: while `has_more()`, draw the text of one `utterance()` to its end.
    """

    def __init__(self, texts: Iterable[str], limit_bytes: int) -> None:
        assert limit_bytes > 0
        self._texts = iter(texts)
        self._limit_bytes = limit_bytes
        self._rest = ""

    def has_more(self) -> bool:
        """Wait for text; return False at its end."""
        if not self._rest:
            self._rest = next(self._texts, "")
        return bool(self._rest)

    def utterance(self) -> Iterator[str]:
        """Yield text as it comes until the limit or the end."""
        room_bytes = self._limit_bytes
        while room_bytes and self.has_more():
            head, self._rest = cut(self._rest, room_bytes, at_word=room_bytes < self._limit_bytes)
            if not head:
                return
            room_bytes = 0 if self._rest else room_bytes - len(head.encode())
            yield head

    def __repr__(self) -> str:
        return f"<Cutter {len(self._rest)} characters waiting>"


def cut(text: str, room_bytes: int, *, at_word: bool) -> tuple[str, str]:
    """Return as much of `text` as fits, and the rest.

    It is cut behind white space if there is any, else, unless `at_word`, between any two characters.
    """
    raw = text.encode()
    if len(raw) <= room_bytes:
        return text, ""
    head = raw[:room_bytes].decode(errors="ignore")
    words_end = max(head.rfind(space) for space in " \n\t") + 1
    if words_end:
        return text[:words_end], text[words_end:]
    return ("", text) if at_word else (head, text[len(head) :])
