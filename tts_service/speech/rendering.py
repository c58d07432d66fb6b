"""What a session orders of the renderer, and what the renderer answers. Samples are at the effective rate."""

from dataclasses import dataclass, field

from tts_service.errors import GreenroomError
from tts_service.speech.playback import PlaybackClock
from tts_service.speech.session_config import SessionConfig
from tts_service.speech.speech_outcome import SpeechOutcome
from tts_service.types import EncodedPiece, ModuleName, Segment

# --- what the session wants of the renderer ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the session's listener has been sent and has heard, and what is there for it, when something is ordered.

    `clock` is as of `ordered_at`; `unsent_seconds` are of all the session's utterances, `received_seconds` all that the
    session was given of this one: what was made besides is on its way.
    """

    clock: PlaybackClock
    unsent_seconds: float
    ordered_at: float
    received_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderSegment:
    """Speak one segment of an utterance, after the ones before it: at most one more than the one being made."""

    utterance_id: str
    config: SessionConfig
    segment: Segment
    index: int
    heard: Heard | None = field(default=None, compare=False)
    """Not what is ordered, but how urgent it is; without it, the listener has nothing left to hear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishAudio:
    """No segment follows: bring out what is withheld. `empty` asks for a short silence first."""

    utterance_id: str
    config: SessionConfig
    empty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscardAudio:
    """Stop work for an utterance and forget its audio."""

    utterance_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteHeard:
    """The utterance's listener stands still, or goes on after that: what the model of its player would not tell."""

    utterance_id: str
    heard: Heard


Order = RenderSegment | FinishAudio | DiscardAudio | NoteHeard

# --- what the renderer says -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderStarted:
    """A place to compute was found."""

    utterance_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreAwaited:
    """The order waits for a module."""

    utterance_id: str
    module: ModuleName
    expected_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioMade:
    """The next coded piece of an utterance."""

    utterance_id: str
    piece: EncodedPiece


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSpoken:
    """A segment has begun to sound; its pieces follow. Its end is an estimate until it has been spoken."""

    utterance_id: str
    segment: Segment
    sample_start: int
    sample_end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NextWelcome:
    """The utterance's next segment may be ordered, though the one before it is still being made."""

    utterance_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentMade:
    """A segment's speech is among the pieces made so far."""

    utterance_id: str
    segment: Segment
    sample_start: int
    sample_end: int
    compute_seconds: float
    outcome: SpeechOutcome = field(default_factory=SpeechOutcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioFinished:
    """The utterance's last piece."""

    utterance_id: str
    piece: EncodedPiece
    compute_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderFailed:
    """The utterance cannot be spoken further."""

    utterance_id: str
    error: GreenroomError


RenderEvent = (
    RenderStarted
    | RestoreAwaited
    | SegmentSpoken
    | AudioMade
    | NextWelcome
    | SegmentMade
    | AudioFinished
    | RenderFailed
)
