"""What a client says in a session and what the session says, as values that mirror `tts.proto`.

Times are seconds of one monotonic clock; text positions are UTF-8 bytes of an utterance's text; samples count at the
session's effective rate.
"""

from dataclasses import dataclass
from enum import Enum

from tts_service.errors import GreenroomError
from tts_service.speech.session_config import ConfigChange, SessionConfig
from tts_service.speech.speech_outcome import SpeechGuard
from tts_service.types import EncodedPiece, ModuleName, Segment

# --- what the client says ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChunk:
    """Text of an utterance; the first one creates it."""

    utterance_id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """Speak what there is, then acknowledge."""

    utterance_id: str
    flush_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndUtterance:
    """No more text."""

    utterance_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelUtterance:
    """Stop speaking it."""

    utterance_id: str
    heard_samples: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybackPosition:
    """How far the listener has heard."""

    utterance_id: str
    played_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateConfig:
    """Change the configuration from the next utterance on."""

    change: ConfigChange


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfClose:
    """The client says nothing more: every open utterance ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A message with an invalid field; `utterance_id` is empty where it named none."""

    utterance_id: str
    error: GreenroomError


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """The service stops at `deadline`; said by the service, not by the client."""

    deadline: float


ClientMessage = (
    TextChunk | Flush | EndUtterance | CancelUtterance | PlaybackPosition | UpdateConfig | HalfClose | Refused | Drain
)

# --- what the session says --------------------------------------------------------------------------------------


class FinishReason(Enum):
    """Why an utterance ended well."""

    COMPLETE = "complete"
    EMPTY = "empty"


class WaitingFor(Enum):
    """What an open utterance waits for."""

    TEXT = "text"
    PLAYBACK = "playback"
    CAPACITY = "capacity"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted:
    """The configuration in force."""

    config: SessionConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceStarted:
    """Precedes the first audio."""

    utterance_id: str
    config: SessionConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioChunk:
    """Audio, in order and without gaps."""

    utterance_id: str
    sequence: int
    sample_offset: int
    piece: EncodedPiece
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentDone:
    """The segment's speech has left."""

    utterance_id: str
    text_start: int
    text_end: int
    sample_start: int
    sample_end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flushed:
    """All speech of the text before the flush has left."""

    utterance_id: str
    flush_id: str
    samples_sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedSegment:
    """A segment whose speech was ended by a guard."""

    segment: Segment
    guard: SpeechGuard


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceDone:
    """Spoken to its end, with its figures."""

    utterance_id: str
    finish_reason: FinishReason
    samples: int
    time_to_first_audio_seconds: float
    queue_wait_seconds: float
    real_time_factor: float
    underruns: int
    speech_tokens: int = 0
    guarded_segments: tuple[GuardedSegment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceCancelled:
    """Interrupted; nothing of it follows."""

    utterance_id: str
    text_spoken: str = ""
    text_unspoken: str = ""
    samples_sent: int = 0
    already_done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceError:
    """It failed (`closed`), or one message of it was refused."""

    utterance_id: str
    error: GreenroomError
    closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Nothing was sent for a while, and why."""

    utterance_id: str
    waiting_for: WaitingFor


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainingNotice:
    """The service stops in so many seconds."""

    seconds_left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoringNotice:
    """Speech waits for a module; `expected_seconds` is None if it never came back before."""

    module: ModuleName
    expected_seconds: float | None


ServerMessage = (
    SessionStarted
    | UtteranceStarted
    | AudioChunk
    | SegmentDone
    | Flushed
    | UtteranceDone
    | UtteranceCancelled
    | UtteranceError
    | Progress
    | DrainingNotice
    | RestoringNotice
)
