"""One utterance inside a session: its text, what is to be rendered, and what is to be sent. Pure.

Text goes in on one side and becomes segments; the renderer's events become `outgoing` items in the order in which they
must leave; the session takes them out under pacing. Every byte of text ends up in exactly one segment.
"""

import math
from collections import deque
from dataclasses import dataclass

from tts_service.speech.protocol import GuardedSegment, WaitingFor
from tts_service.speech.rendering import AudioFinished, SegmentMade, SegmentSpoken
from tts_service.speech.segments import SegmentBuffer, is_speakable
from tts_service.speech.session_config import Aggregation, SessionConfig
from tts_service.speech.session_table import Phase
from tts_service.types import EncodedPiece, Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSpan:
    """A segment and its audio, in samples at the effective rate."""

    segment: Segment
    sample_start: int
    sample_end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushMark:
    """A flush whose text ends at `text_end`."""

    flush_id: str
    text_end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LastPiece:
    """The end of the coded stream."""

    piece: EncodedPiece


Outgoing = EncodedPiece | SegmentSpan | FlushMark | LastPiece


class Utterance:
    """One thing to say.

    Invariant: segments are rendered in order, one at a time but for one that is ordered while the one before it is
    being made; `outgoing` holds what was made and not yet sent.
    """

    def __init__(self, utterance_id: str, config: SessionConfig, *, now: float) -> None:
        self.id = utterance_id
        self.config = config
        self.phase = Phase.OPEN
        self.created_at = now
        self.text_bytes = 0
        self.waiting_since: float | None = None
        self.outgoing: deque[Outgoing] = deque()
        self.spans: list[SegmentSpan] = []
        self.current_span: SegmentSpan | None = None
        """The segment whose audio is being made, once it has any."""
        self.flushes: deque[FlushMark] = deque()
        self.next_is_welcome = False
        """Whether the renderer would take the next segment while it makes one."""
        self.render_started_at: float | None = None
        self.awaits_restore = False
        self.finish_ordered = False
        self.rendered = False
        self.started = False
        self.sequence = 0
        self.samples_sent = 0
        self.samples_made = 0
        self.bytes_made = 0
        self.bytes_sent = 0
        self.segments_ordered = 0
        self.compute_seconds = 0.0
        self.queue_wait_seconds = 0.0
        self.first_text_at: float | None = None
        self.first_audio_at: float | None = None
        self.session_offset_seconds = 0.0
        self.underruns = 0
        self.speech_tokens = 0
        self.guarded_segments: list[GuardedSegment] = []
        self._buffer = SegmentBuffer(language=config.language, aggregate=config.text_aggregation is Aggregation.SERVER)
        self._pieces: list[str] = []
        self._ready: deque[Segment] = deque()
        self._covered_bytes = 0
        self._ordered: deque[float] = deque()

    # --- text ---------------------------------------------------------------------------------------------------

    def write(self, text: str, now: float) -> None:
        """Take text in; segments that are certain become ready."""
        if not text:
            return
        self._pieces.append(text)
        self.text_bytes += len(text.encode())
        if self.first_text_at is None:
            self.first_text_at = now
        ready = self._buffer.write(text)
        self._add(ready)
        if not self._buffer.waiting_bytes:
            self.waiting_since = None
        elif ready or self.waiting_since is None:
            self.waiting_since = now

    def speak_buffered(self) -> None:
        """Make all text so far speakable."""
        self._add(self._buffer.flush())
        self.waiting_since = None

    def flush(self, flush_id: str) -> None:
        """Make all text so far speakable and remember to say when it was spoken."""
        self.speak_buffered()
        self.flushes.append(FlushMark(flush_id=flush_id, text_end=self.text_bytes))
        self._release_flushes()

    def end(self) -> None:
        """Take no more text."""
        assert self.phase is Phase.OPEN
        self.speak_buffered()
        self.phase = Phase.CLOSING

    def _add(self, segments: list[Segment]) -> None:
        self._ready.extend(segments)
        self._pass_unspeakable()

    def _pass_unspeakable(self) -> None:
        """Account for text with nothing to say as soon as everything before it was rendered."""
        while self._ready and not self.rendering and not is_speakable(self._ready[0].text):
            self._cover(self._ready.popleft(), self.made_end, self.made_end)

    @property
    def made_end(self) -> int:
        """Where the audio of the last segment ends."""
        return self.spans[-1].sample_end if self.spans else 0

    @property
    def speaks_at(self) -> float:
        """When buffered text is spoken as it stands."""
        delay_seconds = self.config.max_buffer_delay
        if self.waiting_since is None or delay_seconds == 0:
            return math.inf
        return self.waiting_since + delay_seconds

    # --- rendering ----------------------------------------------------------------------------------------------

    @property
    def rendering(self) -> bool:
        """True if the renderer has an order that it has not carried out."""
        return bool(self._ordered)

    @property
    def ordered_at(self) -> float | None:
        """When the segment that is being made was ordered."""
        return self._ordered[0] if self._ordered else None

    @property
    def wants_rendering(self) -> bool:
        """True if the renderer could be given an order."""
        if self.rendered or self.finish_ordered:
            return False
        if self.rendering:
            return self.next_is_welcome and bool(self._ready) and is_speakable(self._ready[0].text)
        return bool(self._ready) or self.phase is Phase.CLOSING

    def take_segment(self, now: float) -> Segment | None:
        """Return the next segment to render, or None if only the end of the audio is left."""
        assert self.wants_rendering
        self.next_is_welcome = False
        self._ordered.append(now)
        if self._ready:
            self.segments_ordered += 1
            return self._ready.popleft()
        self.finish_ordered = True
        return None

    @property
    def is_empty(self) -> bool:
        """True if nothing of it could be spoken."""
        return all(span.sample_start == span.sample_end for span in self.spans)

    def render_began(self, now: float) -> None:
        """Note that a place to compute was found."""
        self.awaits_restore = False
        if self.render_started_at is None and self.ordered_at is not None:
            self.render_started_at = now
            self.queue_wait_seconds = now - self.ordered_at

    def add_piece(self, piece: EncodedPiece) -> None:
        """Take a coded piece in."""
        self.samples_made += piece.sample_count
        self.bytes_made += len(piece.data)
        if piece.data or piece.sample_count:
            self.outgoing.append(piece)

    def segment_spoken(self, event: SegmentSpoken) -> None:
        """Note how long the segment is, or is taken to be, whose pieces are coming."""
        self.current_span = SegmentSpan(
            segment=event.segment, sample_start=event.sample_start, sample_end=event.sample_end
        )

    def segment_made(self, event: SegmentMade) -> None:
        """Note that a segment's speech is among the pieces so far."""
        self.current_span = None
        self.next_is_welcome = False
        self._ordered.popleft()
        self.compute_seconds += event.compute_seconds
        self.speech_tokens += event.outcome.speech_tokens
        if event.outcome.guard is not None:
            self.guarded_segments.append(GuardedSegment(segment=event.segment, guard=event.outcome.guard))
        self._cover(event.segment, event.sample_start, event.sample_end)
        self._pass_unspeakable()

    def audio_finished(self, event: AudioFinished) -> None:
        """Take the last piece in."""
        self._ordered.clear()
        self.rendered = True
        self.compute_seconds += event.compute_seconds
        self.samples_made += event.piece.sample_count
        self.bytes_made += len(event.piece.data)
        self.outgoing.append(LastPiece(piece=event.piece))

    def _cover(self, segment: Segment, sample_start: int, sample_end: int) -> None:
        span = SegmentSpan(segment=segment, sample_start=sample_start, sample_end=sample_end)
        self.spans.append(span)
        self.outgoing.append(span)
        self._covered_bytes = segment.text_end
        self._release_flushes()

    def _release_flushes(self) -> None:
        while self.flushes and self.flushes[0].text_end <= self._covered_bytes:
            self.outgoing.append(self.flushes.popleft())

    # --- sending ------------------------------------------------------------------------------------------------

    @property
    def unsent_samples(self) -> int:
        """Samples made and not sent."""
        return self.samples_made - self.samples_sent

    @property
    def unsent_bytes(self) -> int:
        """Bytes made and not sent."""
        return self.bytes_made - self.bytes_sent

    @property
    def flushes_waiting(self) -> int:
        """Flushes that are not acknowledged."""
        return len(self.flushes) + sum(isinstance(item, FlushMark) for item in self.outgoing)

    @property
    def waiting_for(self) -> WaitingFor:
        """What it waits for while nothing of it is sent."""
        if self.awaits_restore:
            return WaitingFor.RESTORE
        if self.rendering:
            return WaitingFor.CAPACITY
        if self.outgoing or self.wants_rendering:
            return WaitingFor.PLAYBACK
        return WaitingFor.TEXT

    def sent_piece(self, piece: EncodedPiece, now: float) -> None:
        """Note that a piece has left."""
        self.sequence += 1
        self.samples_sent += piece.sample_count
        self.bytes_sent += len(piece.data)
        if self.first_audio_at is None and piece.sample_count:
            self.first_audio_at = now

    def split_text(self, heard_samples: int | None) -> tuple[str, str]:
        """Return the text heard and the rest; a segment counts once half of its audio was heard."""
        heard = self.samples_sent if heard_samples is None else min(heard_samples, self.samples_sent)
        spoken_end = 0
        current = [self.current_span] if self.current_span is not None else []
        for span in [*self.spans, *current]:
            if heard * 2 < span.sample_start + span.sample_end or not heard:
                break
            spoken_end = span.segment.text_end
        raw = "".join(self._pieces).encode()
        return raw[:spoken_end].decode(), raw[spoken_end:].decode()

    def drop(self, phase: Phase) -> None:
        """Forget everything that has not been sent."""
        self.phase = phase
        self.outgoing.clear()
        self.flushes.clear()
        self._ready.clear()
        self._ordered.clear()
        self.waiting_since = None

    def __repr__(self) -> str:
        return (
            f"<Utterance {self.id!r} {self.phase.value} | {len(self._ready)} segments ready | "
            f"{len(self.outgoing)} items out | {self.samples_sent} of {self.samples_made} samples sent>"
        )
