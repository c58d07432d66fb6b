"""What a session says, as values. Positions and counts are samples at the session's rate, and UTF-8 bytes of text."""

from dataclasses import dataclass
from enum import StrEnum

from greenroom_client.config import SessionConfig
from greenroom_client.errors import ServiceError


class FinishReason(StrEnum):
    """Why an utterance ended by itself."""

    UNKNOWN = "unknown"
    COMPLETE = "complete"
    EMPTY = "empty"
    """The text held nothing to say; a short silence was sent."""


class WaitingFor(StrEnum):
    """What an open utterance waits for."""

    UNKNOWN = "unknown"
    TEXT = "text"
    PLAYBACK = "playback"
    CAPACITY = "capacity"
    RESTORE = "restore"


class SpeechGuard(StrEnum):
    """What ended a segment's speech, where it was not the model's own end."""

    UNKNOWN = "unknown"
    ALIGNMENT = "alignment"
    """Speech had passed the end of the text, or turned back in it."""
    TOKEN_LIMIT = "token_limit"  # noqa: S105 - No password.
    TEXT_BUDGET = "text_budget"
    """More tokens than the text can need."""
    LOOP = "loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that the service keeps."""

    utterance_text_bytes: int
    waiting_utterances: int
    waiting_flushes: int
    idle_timeout_seconds: float
    sessions: int
    detect_audio_seconds: float
    detect_audio_bytes: int
    min_voice_audio_seconds: float = 0.0
    max_voice_audio_seconds: float = 0.0
    """0 for a service that makes no voices."""
    voice_audio_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted:
    """The session is open; `config` has every default filled in."""

    session_id: str
    config: SessionConfig
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceStarted:
    """Audio of the utterance follows; `config` is what it is spoken with."""

    utterance_id: str
    config: SessionConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioChunk:
    """The next coded bytes of an utterance: in order and without gaps in `sample_offset`."""

    utterance_id: str
    sequence: int
    sample_offset: int
    sample_count: int
    data: bytes
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSpoken:
    """Maps the text bytes [text_start, text_end) to the samples [sample_start, sample_end)."""

    utterance_id: str
    text_start: int
    text_end: int
    sample_start: int
    sample_end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flushed:
    """All speech of the text before the flush has left the service."""

    utterance_id: str
    flush_id: str
    samples_sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedSegment:
    """A segment, text bytes [text_start, text_end), that a guard ended: its last words may be missing."""

    text_start: int
    text_end: int
    guard: SpeechGuard


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceDone:
    """The service's figures of an utterance that was spoken to its end."""

    utterance_id: str
    finish_reason: FinishReason
    samples: int
    first_audio_seconds: float
    """From its first text to its first audio, in the service."""
    queue_wait_seconds: float
    real_time_factor: float
    """Compute time over audio time; below 1 is faster than speech."""
    underruns: int
    """Times that playback ran out of audio in mid-utterance."""
    speech_tokens: int = 0
    """25 a second; 0 for a model that has none."""
    guarded_segments: tuple[GuardedSegment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceResult:
    """An utterance that was spoken to its end: its figures, its segments and what it was spoken with."""

    utterance_id: str
    finish_reason: FinishReason
    samples: int
    first_audio_seconds: float
    queue_wait_seconds: float
    real_time_factor: float
    underruns: int
    segments: tuple[SegmentSpoken, ...]
    config: SessionConfig
    speech_tokens: int = 0
    guarded_segments: tuple[GuardedSegment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """An interrupted utterance: what of its text was spoken (to a segment's precision) and what was not."""

    utterance_id: str
    text_spoken: str = ""
    text_unspoken: str = ""
    samples_sent: int = 0
    already_done: bool = False
    """True if there was nothing left to cancel; the texts are then empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The utterance failed (`closed`), or one message was refused. Without an id it was about the session."""

    utterance_id: str
    error: ServiceError
    closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Nothing is sent for now, and why."""

    utterance_id: str
    waiting_for: WaitingFor


@dataclass(frozen=True, slots=True, kw_only=True)
class Draining:
    """The service stops after so many seconds; utterances already begun are finished, new ones refused."""

    seconds_left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """Speech waits for a module; `expected_seconds` is None if it never came back before."""

    module: str
    expected_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """The service is full: the session waits at this position, from 1 on, for about so long. Closing it ends that."""

    position: int
    expected_seconds: float


ServerEvent = (
    SessionStarted
    | UtteranceStarted
    | AudioChunk
    | SegmentSpoken
    | Flushed
    | UtteranceDone
    | Cancelled
    | Refusal
    | Progress
    | Draining
    | Restoring
    | Queued
)
"""Everything that can come in a session."""

SessionEvent = UtteranceStarted | SegmentSpoken | Refusal | Progress | Draining | Restoring | Queued
"""What an `on_event` callback hears; all else is awaited where it belongs."""
