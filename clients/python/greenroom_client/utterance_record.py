"""What is known about one utterance, on the client's side. Pure: no clock, no I/O, no lock.

Rule 1: audio that came in order is handed out in order, before the outcome is told.
Rule 2: after a cancel nothing is handed out any more, whatever is still on its way.
Rule 3: an outcome is final, unless audio had to be dropped: then that is the outcome.
"""

from collections import deque
from enum import Enum

from greenroom_client.config import SessionConfig
from greenroom_client.errors import (
    AudioOverrunError,
    GreenroomError,
    MessageRefused,
    ProtocolError,
    UtteranceFailed,
    UtteranceInterrupted,
)
from greenroom_client.events import (
    AudioChunk,
    Cancelled,
    Flushed,
    SegmentSpoken,
    ServerEvent,
    UtteranceDone,
    UtteranceResult,
    UtteranceStarted,
)

Outcome = UtteranceResult | Cancelled | GreenroomError


class Phase(Enum):
    """What the client has said about an utterance."""

    NEW = "new"
    """Nothing: the service does not know it."""
    OPEN = "open"
    ENDED = "ended"
    """It gets no more text."""
    CANCELLING = "cancelling"


class UtteranceRecord:
    """One utterance: what was said about it, what came of it, and how it ended.

    Invariant: `buffered_bytes` is the sum of the lengths of `chunks`, and 0 from a cancel on.
    """

    def __init__(self, utterance_id: str) -> None:
        self.id = utterance_id
        self.phase = Phase.NEW
        self.opened_at: float | None = None
        self.config: SessionConfig | None = None
        self.chunks: deque[AudioChunk] = deque()
        self.buffered_bytes = 0
        self.segments: list[SegmentSpoken] = []
        self.flushes: dict[str, Flushed | None] = {}
        self.refusals: deque[MessageRefused] = deque()
        self.outcome: Outcome | None = None
        self._next_sequence = 0
        self._next_offset = 0

    @property
    def is_open(self) -> bool:
        """True if the service still has something to say about it."""
        return self.phase is not Phase.NEW and self.outcome is None

    @property
    def has_news(self) -> bool:
        """True if a reader of its audio need not wait."""
        return bool(self.chunks) or self.outcome is not None or self.phase is Phase.CANCELLING

    @property
    def flushes_waiting(self) -> int:
        """Flushes that are not acknowledged."""
        return sum(flushed is None for flushed in self.flushes.values())

    def check_takes_text(self) -> None:
        """Raise what keeps it from taking text: its outcome, a refused message, or the caller's own end."""
        self.raise_failure()
        if self.is_cancelled:
            raise self.interrupted()
        self.raise_refusal()
        if self.phase is Phase.ENDED or self.outcome is not None:
            raise ValueError(f"utterance {self.id!r} has ended; begin another one")

    def raise_refusal(self) -> None:
        """Raise the oldest refusal that nobody has heard of."""
        if self.refusals:
            raise self.refusals.popleft()

    def result(self) -> UtteranceResult:
        """Return the figures of an utterance with an outcome; raise if it was not spoken to its end."""
        self.raise_refusal()
        match self.outcome:
            case UtteranceResult():
                return self.outcome
            case Cancelled():
                raise self.interrupted()
            case GreenroomError():
                raise self.outcome.with_traceback(None)
            case None:
                raise AssertionError("the utterance has no outcome yet")

    def raise_failure(self) -> None:
        """Raise what went wrong with it, if something did; a cancel is no failure."""
        if isinstance(self.outcome, GreenroomError):
            raise self.outcome.with_traceback(None)

    def cancelled(self) -> Cancelled:
        """Return what a cancel of an utterance with an outcome came to; raise if the session was lost meanwhile."""
        match self.outcome:
            case Cancelled():
                return self.outcome
            case UtteranceResult(samples=samples):
                return Cancelled(utterance_id=self.id, samples_sent=samples, already_done=True)
            case UtteranceFailed() | AudioOverrunError() | ProtocolError():
                return Cancelled(utterance_id=self.id, already_done=True)
            case GreenroomError():
                raise self.outcome.with_traceback(None)
            case None:
                raise AssertionError("the utterance has no outcome yet")

    @property
    def is_cancelled(self) -> bool:
        """True if it was cancelled from this side."""
        return self.phase is Phase.CANCELLING or isinstance(self.outcome, Cancelled)

    def interrupted(self) -> UtteranceInterrupted:
        """Return the error for whoever still wants something of a cancelled utterance."""
        return UtteranceInterrupted(self.id, self.outcome if isinstance(self.outcome, Cancelled) else None)

    def receive_audio(self, chunk: AudioChunk) -> None:
        """Take audio in. Raises ProtocolError if it does not continue what came before."""
        if (chunk.sequence, chunk.sample_offset) != (self._next_sequence, self._next_offset):
            raise ProtocolError(
                f"utterance {self.id!r}: expected chunk {self._next_sequence} at sample {self._next_offset}, "
                f"got chunk {chunk.sequence} at sample {chunk.sample_offset}"
            )
        self._next_sequence += 1
        self._next_offset += chunk.sample_count
        self.chunks.append(chunk)
        self.buffered_bytes += len(chunk.data)

    def take_in(self, event: ServerEvent | None) -> AudioChunk | None:
        """Note an event of a speech that is nothing but this utterance; return it if it is audio."""
        match event:
            case AudioChunk():
                self.receive_audio(event)
                return self.take()
            case UtteranceStarted(config=config):
                self.config = config
            case SegmentSpoken():
                self.segments.append(event)
            case UtteranceDone():
                self.finish(event, SessionConfig())
            case _:
                pass  # Newer than this client.
        return None

    def take(self) -> AudioChunk | None:
        """Return the next audio, if there is any."""
        if not self.chunks:
            return None
        chunk = self.chunks.popleft()
        self.buffered_bytes -= len(chunk.data)
        return chunk

    def give_up(self, error: GreenroomError) -> bool:
        """Drop its audio for good; return whether the service is still at it."""
        was_open = self.is_open
        self.drop_audio()
        self.outcome = error
        return was_open

    def drop_audio(self) -> None:
        """Forget the audio that nobody has taken."""
        self.chunks.clear()
        self.buffered_bytes = 0

    def finish(self, done: UtteranceDone, session_config: SessionConfig) -> None:
        """Close it with the service's figures."""
        self.close(
            UtteranceResult(
                utterance_id=self.id,
                finish_reason=done.finish_reason,
                samples=done.samples,
                first_audio_seconds=done.first_audio_seconds,
                queue_wait_seconds=done.queue_wait_seconds,
                real_time_factor=done.real_time_factor,
                underruns=done.underruns,
                speech_tokens=done.speech_tokens,
                guarded_segments=done.guarded_segments,
                segments=tuple(self.segments),
                config=self.config or session_config,
            )
        )

    def close(self, outcome: Outcome) -> None:
        """Give it its outcome, unless it has one."""
        if self.outcome is None:
            self.outcome = outcome

    def __repr__(self) -> str:
        outcome = "-" if self.outcome is None else type(self.outcome).__name__
        return f"<UtteranceRecord {self.id!r} {self.phase.value} {outcome} | {len(self.chunks)} chunks unread>"
