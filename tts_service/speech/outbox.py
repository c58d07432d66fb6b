"""What a session sends, and when: urgent messages first, then the current utterance's items under pacing. Pure."""

from collections import deque
from collections.abc import Iterable

from tts_service.speech import playback
from tts_service.speech.playback import PlaybackClock
from tts_service.speech.protocol import (
    AudioChunk,
    FinishReason,
    Flushed,
    SegmentDone,
    ServerMessage,
    UtteranceDone,
    UtteranceStarted,
)
from tts_service.speech.rendering import Heard
from tts_service.speech.session_config import Pacing
from tts_service.speech.utterance import FlushMark, LastPiece, SegmentSpan, Utterance
from tts_service.types import EncodedPiece

UTTERANCES_REMEMBERED = 16
"""Utterances whose playback is still understood after their audio has left."""


TIMER_SECONDS = 0.002
"""What audio may leave early by, so that timers, which count whole milliseconds, never let it leave late.

The lead is kept smaller by as much, so that no client is ahead of its bound.
"""


class Outbox:
    """The sending side of one session.

    Invariant: an audio piece leaves only while all that has left stays within the utterance's max_audio_ahead of
    playback, unless nothing is paced.
    """

    def __init__(self, *, sample_rate_hertz: int, now: float) -> None:
        self.clock = PlaybackClock(as_of=now)
        self.urgent: deque[ServerMessage] = deque()
        self.last_sent_at = now
        self.spoke_at = now
        """When audio last left."""
        self._sample_rate_hertz = sample_rate_hertz
        self._offsets: dict[str, float] = {}

    def say(self, message: ServerMessage) -> None:
        """Send a message before all audio that has not left."""
        self.urgent.append(message)

    def poll(self, utterance: Utterance | None, now: float) -> ServerMessage | None:
        """Return the next message to write, or None if there is nothing to write now."""
        message = self.urgent.popleft() if self.urgent else self._next(utterance, now)
        if message is not None:
            self.last_sent_at = now
        return message

    def _next(self, utterance: Utterance | None, now: float) -> ServerMessage | None:
        if utterance is None:
            return None
        if not utterance.outgoing:
            return _done(utterance) if utterance.rendered else None
        if not utterance.started:
            self._begin(utterance, now)
            return UtteranceStarted(utterance_id=utterance.id, config=utterance.config)
        if self.piece_at(utterance, now) > now + TIMER_SECONDS:
            return None
        match item := utterance.outgoing.popleft():
            case EncodedPiece():
                return self._audio(utterance, item, now, last=False)
            case LastPiece(piece=piece):
                return self._audio(utterance, piece, now, last=True)
            case SegmentSpan():
                return _segment_done(utterance, item)
            case FlushMark(flush_id=flush_id):
                return Flushed(utterance_id=utterance.id, flush_id=flush_id, samples_sent=utterance.samples_sent)

    def _begin(self, utterance: Utterance, now: float) -> None:
        utterance.started = True
        self.clock = playback.advanced(self.clock, now)
        self._offsets[utterance.id] = self.clock.sent_seconds
        if len(self._offsets) > UTTERANCES_REMEMBERED:
            del self._offsets[next(iter(self._offsets))]

    def _audio(self, utterance: Utterance, piece: EncodedPiece, now: float, *, last: bool) -> AudioChunk:
        chunk = AudioChunk(
            utterance_id=utterance.id,
            sequence=utterance.sequence,
            sample_offset=utterance.samples_sent,
            piece=piece,
            last=last,
        )
        self.spoke_at = now
        utterance.sent_piece(piece, now)
        self.clock = playback.sent(self.clock, self.seconds(piece.sample_count), now)
        return chunk

    def count_underrun(self, utterance: Utterance, now: float) -> None:
        """Count a gap in mid-utterance when audio comes that was ordered before playback ran dry.

        A gap in which there was nothing to order is the client's missing text, and does not count.
        """
        self.clock = playback.advanced(self.clock, now)
        dry_since = self.clock.dry_since
        is_late = dry_since is not None and utterance.ordered_at is not None and utterance.ordered_at < dry_since
        if is_late and utterance.samples_sent and not utterance.unsent_samples:
            utterance.underruns += 1

    def piece_at(self, utterance: Utterance, now: float) -> float:
        """Return when the current utterance's next item may leave."""
        item = utterance.outgoing[0]
        piece = item.piece if isinstance(item, LastPiece) else item
        if not isinstance(piece, EncodedPiece) or utterance.config.pacing is Pacing.NONE:
            return now
        self.clock = playback.advanced(self.clock, now)
        return playback.room_at(
            self.clock,
            ahead_limit_seconds=utterance.config.max_audio_ahead - TIMER_SECONDS,
            next_seconds=self.seconds(piece.sample_count),
            now=now,
        )

    def lead_seconds(self, now: float) -> float:
        """Return how much audio has left and is not played."""
        self.clock = playback.advanced(self.clock, now)
        return playback.ahead_seconds(self.clock)

    def heard(self, utterances: Iterable[Utterance], now: float, *, of: Utterance) -> Heard:
        """Return how far the listener is, with what of these utterances has not left; for an order of one of them."""
        self.clock = playback.advanced(self.clock, now)
        unsent_seconds = self.seconds(sum(utterance.unsent_samples for utterance in utterances))
        received_seconds = self.seconds(of.samples_made)
        return Heard(clock=self.clock, unsent_seconds=unsent_seconds, ordered_at=now, received_seconds=received_seconds)

    def played(self, utterance_id: str, samples: int, now: float) -> bool:
        """Take the client's word on how far it has played; unknown or long gone utterances are ignored.

        Tells whether the listener stands still, or has until now.
        """
        stood = self.clock.still_since is not None
        if utterance_id in self._offsets:
            played_seconds = self._offsets[utterance_id] + self.seconds(samples)
            self.clock = playback.reported(playback.advanced(self.clock, now), played_seconds, now)
        return stood or self.clock.still_since is not None

    def interrupted(self, utterance_id: str, heard_samples: int | None, now: float) -> None:
        """Note that the client dropped what it had not played of an utterance; a later one's audio stays with it."""
        if utterance_id not in self._offsets:
            return
        ids = list(self._offsets)
        later = ids[ids.index(utterance_id) + 1 :]
        if later:
            self.clock = playback.skipped(self.clock, self._offsets[later[0]], now)
            return
        if heard_samples is not None:
            self.played(utterance_id, heard_samples, now)
        self.clock = playback.discarded(self.clock, now)

    def seconds(self, samples: int) -> float:
        """Return the length of so many samples."""
        return samples / self._sample_rate_hertz

    def __repr__(self) -> str:
        return f"<Outbox {len(self.urgent)} urgent | {playback.ahead_seconds(self.clock):.2f} s ahead of playback>"


def _segment_done(utterance: Utterance, span: SegmentSpan) -> SegmentDone:
    return SegmentDone(
        utterance_id=utterance.id,
        text_start=span.segment.text_start,
        text_end=span.segment.text_end,
        sample_start=span.sample_start,
        sample_end=span.sample_end,
    )


def _done(utterance: Utterance) -> UtteranceDone:
    began = utterance.first_text_at if utterance.first_text_at is not None else utterance.created_at
    heard_at = utterance.first_audio_at if utterance.first_audio_at is not None else began
    audio_seconds = utterance.samples_sent / utterance.config.audio_format.sample_rate_hertz
    return UtteranceDone(
        utterance_id=utterance.id,
        finish_reason=FinishReason.EMPTY if utterance.is_empty else FinishReason.COMPLETE,
        samples=utterance.samples_sent,
        time_to_first_audio_seconds=heard_at - began,
        queue_wait_seconds=utterance.queue_wait_seconds,
        real_time_factor=utterance.compute_seconds / audio_seconds if audio_seconds else 0.0,
        underruns=utterance.underruns,
        speech_tokens=utterance.speech_tokens,
        guarded_segments=tuple(utterance.guarded_segments),
    )
