"""When a client had written what a segment needed: the moment from which first audio counts. Pure.

A sentence may be spoken once its end is certain, which takes a little of what follows. The service's own rule says
when; it is a function of the text alone, so that a client that knows it knows what the service was waiting for.
"""

from bisect import bisect_left

from tts_service.speech.segments import SegmentBuffer


class TextLog:
    """The text of one utterance as it was written. Positions are UTF-8 bytes; times are the caller's."""

    def __init__(self, *, language: str = "en") -> None:
        self.first_at: float | None = None
        self.ended_at: float | None = None
        self.length_bytes = 0
        self._buffer = SegmentBuffer(language=language)
        self._ends: list[int] = []
        self._times: list[float] = []

    def __repr__(self) -> str:
        return f"<TextLog {self.length_bytes} bytes | {len(self._ends)} segments>"

    @property
    def first_segment_at(self) -> float | None:
        """When the first segment had all that it needed."""
        return self._times[0] if self._times else None

    def write(self, piece: str, now: float) -> None:
        """Note a piece."""
        if self.first_at is None:
            self.first_at = now
        self.length_bytes += len(piece.encode())
        self._note([segment.text_end for segment in self._buffer.write(piece)], now)

    def end(self, now: float) -> None:
        """Note that nothing follows."""
        self.ended_at = now
        self._note([segment.text_end for segment in self._buffer.flush()], now)

    def certain_at(self, text_end: int) -> float | None:
        """Return when the segment that ends there or beyond had all that it needed; None if it has not yet."""
        place = bisect_left(self._ends, text_end)
        return self._times[place] if place < len(self._times) else None

    def _note(self, ends: list[int], now: float) -> None:
        self._ends.extend(ends)
        self._times.extend([now] * len(ends))
