"""One utterance of a session, for threads: one may write it while another hears it."""

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from greenroom_client.caller_input import check_flush_id, pieces_of
from greenroom_client.config import SessionConfig
from greenroom_client.errors import ProtocolError, no_answer
from greenroom_client.events import AudioChunk, Cancelled, Flushed, SegmentSpoken, UtteranceResult
from greenroom_client.requests import cancel_request, end_request, flush_request, playback_request, text_request
from greenroom_client.sync_line import Line
from greenroom_client.utterance_record import Phase, UtteranceRecord

CANCEL_SECONDS = 5.0
"""How long a cancel may take to be acknowledged."""

Texts = str | Iterable[str]
"""A whole text, or its pieces as they come."""


class Utterance:
    """One thing to say. Write and read it at the same time; as a block it is cancelled if it is left unfinished.

    Iterating yields its audio, once, to one consumer; leaving the loop loses nothing, and another loop goes on.
    """

    def __init__(self, line: Line, record: UtteranceRecord) -> None:
        self._line = line
        self._record = record

    @property
    def id(self) -> str:
        """Its name in the session."""
        return self._record.id

    @property
    def config(self) -> SessionConfig | None:
        """What it is spoken with; None until its audio begins."""
        return self._record.config

    @property
    def segments(self) -> tuple[SegmentSpoken, ...]:
        """The pieces of text spoken so far, with their samples."""
        with self._line.changed:
            return tuple(self._record.segments)

    @property
    def is_cancelled(self) -> bool:
        """True if it was cancelled from this side."""
        return self._record.is_cancelled

    def write(self, text: str) -> None:
        """Say more; returns when the text is queued.

        Raises UtteranceFailed, UtteranceInterrupted, MessageRefused (of an earlier text) or what ended the session.
        """
        with self._line.changed:
            self._record.check_takes_text()
            for piece in pieces_of(text):
                self._line.room()
                self._record.check_takes_text()
                if piece:
                    self._line.conversation.opens(self._record, self._line.clock())
                    self._line.send(text_request(self.id, piece))

    def write_all(self, texts: Texts) -> None:
        """Write all of a text, or texts as they come, then `end`."""
        for text in (texts,) if isinstance(texts, str) else texts:
            self.write(text)
        self.end()

    def flush(self, flush_id: str | None = None) -> "FlushTicket":
        """Have everything written so far spoken now; the ticket's `done` waits until that speech has come."""
        with self._line.changed:
            self._record.check_takes_text()
            flush_id = check_flush_id(self._record, flush_id)
            self._line.conversation.check_flush_fits()
            self._line.room()
            self._line.conversation.opens(self._record, self._line.clock())
            self._record.flushes[flush_id] = None
            self._line.send(flush_request(self.id, flush_id))
        return FlushTicket(self._line, self._record, flush_id)

    def end(self) -> None:
        """Say that no more text comes. Does nothing the second time."""
        with self._line.changed:
            if self._record.phase is Phase.ENDED:
                return
            self._record.check_takes_text()
            self._line.room()
            if self._record.phase is Phase.NEW:
                self._line.send(text_request(self.id, ""))
            self._line.conversation.opens(self._record, self._line.clock())
            self._line.conversation.ends(self._record)
            self._line.send(end_request(self.id))

    def cancel(self, *, heard_samples: int | None = None, timeout_seconds: float = CANCEL_SECONDS) -> Cancelled:
        """Stop speaking it and return what was said. Its audio ends at once, here too.

        `heard_samples` is how much of it the listener has heard; without it, all that was sent counts as spoken.
        """
        self.interrupt(heard_samples=heard_samples)
        with self._line.changed:
            if not self._line.until(lambda: self._record.outcome is not None, timeout_seconds):
                message = f"the cancel of {self.id!r} was not acknowledged within {timeout_seconds:.3g} s"
                raise no_answer(message)
            return self._record.cancelled()

    def interrupt(self, *, heard_samples: int | None = None) -> None:
        """Stop speaking it without waiting for the acknowledgement."""
        with self._line.changed:
            if self._line.conversation.cancels(self._record):
                self._line.send(cancel_request(self.id, heard_samples))
            self._line.changed.notify_all()

    def done(self, *, timeout_seconds: float | None = None) -> UtteranceResult:
        """Wait for its end and return its figures. Raises UtteranceFailed, UtteranceInterrupted or TimeoutError.

        Reads nothing: iterate over its audio as well, in another thread or before.
        """
        with self._line.changed:
            if not self._line.until(lambda: self._record.outcome is not None, timeout_seconds):
                raise TimeoutError(f"utterance {self.id!r} is still being spoken")
            return self._record.result()

    def report_playback(self, played_samples: int) -> None:
        """Say how much of it the listener has heard, so that pacing follows the listener.

        Every second or so, and also while the listener pauses: after 2 s without a report the clock goes on.
        """
        with self._line.changed:
            if self._record.phase is not Phase.NEW:
                self._line.room()
                self._line.send(playback_request(self.id, played_samples))

    def read(self, *, timeout_seconds: float | None = None) -> AudioChunk | None:
        """Return the next audio, or None at its end. Raises UtteranceFailed or TimeoutError."""
        with self._line.changed:
            if not self._line.until(lambda: self._record.has_news, timeout_seconds):
                raise TimeoutError(f"no audio of {self.id!r} within {timeout_seconds} s")
            chunk = self._line.conversation.take(self._record)
            self._line.changed.notify_all()
            if chunk is None:
                self._record.raise_failure()
            return chunk

    def __iter__(self) -> Iterator[AudioChunk]:
        return self

    def __next__(self) -> AudioChunk:
        chunk = self.read()
        if chunk is None:
            raise StopIteration
        return chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.interrupt()

    def __repr__(self) -> str:
        return f"<Utterance {self._record!r}>"


class FlushTicket:
    """A flush that was sent."""

    def __init__(self, line: Line, record: UtteranceRecord, flush_id: str) -> None:
        self._line = line
        self._record = record
        self.flush_id = flush_id

    def done(self, *, timeout_seconds: float | None = None) -> Flushed:
        """Wait until all speech of the text before the flush has come. Raises as `Utterance.done` does."""
        record, flush_id = self._record, self.flush_id
        with self._line.changed:
            if not self._line.until(
                lambda: record.flushes[flush_id] is not None or record.outcome is not None, timeout_seconds
            ):
                raise TimeoutError(f"flush {flush_id!r} is not answered yet")
            flushed = record.flushes[flush_id]
            if flushed is None:
                record.result()
                raise ProtocolError(f"utterance {record.id!r} ended without an answer to flush {flush_id!r}")
            return flushed

    def __repr__(self) -> str:
        return f"<FlushTicket {self.flush_id!r} of {self._record!r}>"
