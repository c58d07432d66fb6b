"""What callers pass in: ids that the service accepts, texts in pieces that fit a message. Pure."""

from collections.abc import Iterable

from greenroom_client.utterance_record import UtteranceRecord

TEXT_PIECE_BYTES = 32 * 1024
"""Longer text is sent in pieces, so that one message never exceeds what the service receives."""
WHOLE_TEXT_BYTES_MAX = 1_000_000
"""What fits one message beside a configuration; the service's own limit is lower, and is told by the service."""
ID_CHARACTERS_MAX = 128


def check_id(text: str) -> None:
    """Raise ValueError unless `text` can name an utterance: 1 to 128 printable ASCII characters."""
    if not (0 < len(text) <= ID_CHARACTERS_MAX and text.isascii() and text.isprintable()):
        raise ValueError(f"an id has 1 to {ID_CHARACTERS_MAX} printable ASCII characters: {text[:ID_CHARACTERS_MAX]!r}")


def pieces_of(text: str) -> Iterable[str]:
    """Yield `text` in pieces of at most TEXT_PIECE_BYTES of UTF-8. Raises ValueError for lone surrogates."""
    if len(text.encode()) <= TEXT_PIECE_BYTES:
        yield text
        return
    characters = TEXT_PIECE_BYTES // 4
    for start in range(0, len(text), characters):
        yield text[start : start + characters]


def check_flush_id(record: UtteranceRecord, flush_id: str | None) -> str:
    """Return the id of a new flush, made up if it is None. Raises ValueError for one that cannot be used."""
    if flush_id is None:
        return str(len(record.flushes) + 1)
    if len(flush_id) > ID_CHARACTERS_MAX or flush_id in record.flushes:
        raise ValueError(f"a flush needs an id of its own, of at most {ID_CHARACTERS_MAX} characters: {flush_id!r}")
    return flush_id


def whole_text(text: str) -> str:
    """Return a text that fits one message. Raises ValueError for one that does not, and for lone surrogates."""
    size_bytes = len(text.encode())
    if size_bytes > WHOLE_TEXT_BYTES_MAX:
        raise ValueError(f"{size_bytes} bytes of text fit no message; speak them in a session, in several utterances")
    return text
