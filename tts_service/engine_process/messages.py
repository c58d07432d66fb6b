"""What the front end and the engine say to each other. Sessions and calls are numbers that the front end chooses.

Samples of speech cross as floats at the models' own rate (`types.Waveform`'s bytes): the front end codes them.
"""

from dataclasses import dataclass

from tts_service.engine_process.values import Vocabulary
from tts_service.errors import GreenroomError
from tts_service.late_counts import LateCounts
from tts_service.models.kept_master import KeptMaster
from tts_service.residency.situation import Move
from tts_service.residency.types import ResidencyReport
from tts_service.scheduling.utilisation import Part
from tts_service.settings_listing import EffectiveSetting
from tts_service.speech.new_voice import NewVoice
from tts_service.speech.rendering import Order, RenderEvent
from tts_service.speech.session_config import ModelFacts, VoiceFacts
from tts_service.speech.watermark import Detection
from tts_service.types import AudioFormat, ModuleName

# --- what the front end says ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """Come up with this configuration (JSON of its values), and with these masters, inherited; said first, and once."""

    config: str
    settings: tuple[EffectiveSetting, ...]
    masters: tuple[KeptMaster, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """A session's order; the first one opens it."""

    session: int
    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded:
    """A session has ended: nothing of it is wanted any more."""

    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefetch:
    """Speech with a model will be wanted soon."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """How many sessions there are, and how many utterances wait."""

    sessions: int
    queued: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodersWanted:
    """An upload has begun whose voice will need the encoders, until `CallForgotten`."""

    call: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The next bytes of what a call uploads."""

    call: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeVoice:
    """Make a voice of the pieces that this call has sent."""

    call: int
    wanted: NewVoice


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteVoice:
    """Delete a voice."""

    call: int
    voice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FindWatermark:
    """Look for the watermark in the pieces that this call has sent."""

    call: int
    audio_format: AudioFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForgotten:
    """Nobody waits for this call any more."""

    call: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteTrace:
    """Write where time went, beside the file of the configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Stop in good order."""


# --- what the engine says ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How far the start is; `total_bytes` 0 where that is not known."""

    stage: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CannotStart:
    """The engine cannot come up, and another try would not help; the message says what to do."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The engine speaks: with these models and voices. `makes_voices` where voices can be made."""

    models: tuple[ModelFacts, ...]
    voices: tuple[VoiceFacts, ...]
    makes_voices: bool
    on_gpu: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What came of a session's orders."""

    session: int
    event: RenderEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """The engine's event loop turns; the longest of the steps under way has taken so long, None if there is none."""

    step_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """A step of speech was taken."""

    modules: tuple[ModuleName, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What runs of a part of the service took since this was said last, and what they take by the figures."""

    part: Part
    seconds: float
    expected_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A module was moved."""

    move: Move
    moved_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """Where the modules are, which of them are broken, and what is captured late."""

    report: ResidencyReport
    broken: tuple[ModuleName, ...]
    late: LateCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class VoicesThere:
    """All voices, because they have changed."""

    voices: tuple[VoiceFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceMade:
    """A call's voice is kept."""

    call: int
    voice: VoiceFacts
    already_there: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceDeleted:
    """A call's voice is gone."""

    call: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatermarkLooked:
    """What a call's audio was found to be."""

    call: int
    found: Detection


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailed:
    """A call has failed."""

    call: int
    error: GreenroomError


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceWritten:
    """Where time went in the engine is written, or could not be."""


Answer = VoiceMade | VoiceDeleted | WatermarkLooked | CallFailed


def front_words() -> Vocabulary:
    """Return what the front end can say."""
    return Vocabulary(
        (
            Begin,
            Ordered,
            SessionEnded,
            Prefetch,
            Active,
            EncodersWanted,
            Piece,
            MakeVoice,
            DeleteVoice,
            FindWatermark,
            CallForgotten,
            WriteTrace,
            End,
        )
    )


def engine_words() -> Vocabulary:
    """Return what the engine can say."""
    return Vocabulary(
        (
            Loading,
            CannotStart,
            Ready,
            Rendered,
            Pulse,
            Stepped,
            Ran,
            Moved,
            Reported,
            VoicesThere,
            VoiceMade,
            VoiceDeleted,
            WatermarkLooked,
            CallFailed,
            TraceWritten,
        )
    )
