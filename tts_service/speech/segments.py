"""Segments: speakable pieces of text that arrives a few characters at a time.

Rules
* Segments follow one another without a gap: together they are the text, byte for byte.
* Where no flush came between, they do not depend on how the text arrived (`sentence_ends` says why).
* A segment is a sentence, or part of one that is longer than `max_segment_characters`. It holds something to say,
  unless a flush or the limit left nothing else.
* Work and memory are bounded: no more waits than one segment and the look-ahead behind it, and what waits is searched
  from where the last search stopped.
"""

from collections.abc import Iterator

from tts_service.speech.long_text import cut_long_text
from tts_service.speech.sentence_ends import View, find_sentence_end
from tts_service.speech.speakable import is_speakable
from tts_service.types import Segment

__all__ = ["MAX_SEGMENT_CHARACTERS", "SegmentBuffer", "is_speakable"]

MAX_SEGMENT_CHARACTERS = 300
"""About 20 s of English speech: longer than almost any sentence, and short enough for one call of a voice."""

_LEAST_SEGMENT_CHARACTERS = 50


class SegmentBuffer:
    """The text of one utterance that waits for its sentence to end.

    `language` is a BCP 47 tag; without `aggregate`, what is written at once is a segment.
    """

    def __init__(
        self, *, language: str, aggregate: bool = True, max_segment_characters: int = MAX_SEGMENT_CHARACTERS
    ) -> None:
        assert max_segment_characters >= _LEAST_SEGMENT_CHARACTERS
        self._language = language.replace("_", "-").partition("-")[0].lower()
        self._aggregate = aggregate
        self._max_characters = max_segment_characters
        self._text = ""
        self._start = 0  # Of the waiting text in `_text`.
        self._searched = 0  # No sentence ends before this place.
        self._column = 0  # Characters between the last line break and `_start`.
        self._offset_bytes = 0  # Of `_start` in the utterance.

    def __repr__(self) -> str:
        return f"<SegmentBuffer {self._language} {self._offset_bytes} bytes cut | {self.waiting_bytes} bytes waiting>"

    @property
    def waiting_text(self) -> str:
        """Text that no segment holds yet."""
        return self._text[self._start :]

    @property
    def waiting_bytes(self) -> int:
        """Length of the waiting text in UTF-8."""
        return len(self.waiting_text.encode())

    def write(self, text: str) -> list[Segment]:
        """Take text in and return the segments that are now certain."""
        self._text = self.waiting_text + text
        self._searched -= self._start
        self._start = 0
        return list(self._cut(final=not self._aggregate and is_speakable(self._text)))

    def flush(self) -> list[Segment]:
        """Return everything that waits, as if the text ended here."""
        return list(self._cut(final=True))

    def _cut(self, *, final: bool) -> Iterator[Segment]:
        find_end = self._sentence_end if self._aggregate else self._piece_end
        while self._start < len(self._text) and (end := find_end(final=final)) is not None:
            yield self._take(end)

    def _sentence_end(self, *, final: bool) -> int | None:
        view = View(
            language=self._language,
            text=self._text,
            start=self._start,
            limit=self._start + self._max_characters,
            column=self._column,
            final=final,
        )
        search = find_sentence_end(view, self._searched)
        self._searched = search.resume
        if search.end is not None or search.undecided:
            return search.end
        return self._piece_end(final=final)

    def _piece_end(self, *, final: bool) -> int | None:
        """Return where the waiting text is cut for its length, or its end if nothing follows."""
        limit = self._start + self._max_characters
        if len(self._text) > limit:
            return cut_long_text(self._text, self._start, limit)
        return len(self._text) if final else None

    def _take(self, end: int) -> Segment:
        text = self._text[self._start : end]
        last_break = text.rfind("\n")
        self._column = self._column + len(text) if last_break < 0 else len(text) - last_break - 1
        self._start = self._searched = end
        text_start = self._offset_bytes
        self._offset_bytes += len(text.encode())
        return Segment(text=text, text_start=text_start, text_end=self._offset_bytes)
