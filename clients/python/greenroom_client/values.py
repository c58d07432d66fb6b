"""What the service says about itself, its voices and a piece of audio."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from greenroom_client.config import Encoding, SessionConfig
from greenroom_client.events import Limits, UtteranceResult


class Health(StrEnum):
    """What the standard health check answers."""

    UNKNOWN = "unknown"
    SERVING = "serving"
    NOT_SERVING = "not_serving"
    SERVICE_UNKNOWN = "service_unknown"


class VoiceContent(StrEnum):
    """What the bytes of a new voice are."""

    REFERENCE_AUDIO = "reference_audio"
    """A recording of one speaker: WAV, FLAC, Ogg or MP3."""
    UPSTREAM_CONDITIONALS = "upstream_conditionals"
    """The file `conds.pt` that upstream's `Conditionals.save` writes."""


class Verdict(StrEnum):
    """What the watermark detector found."""

    UNKNOWN = "unknown"
    PRESENT = "present"
    ABSENT = "absent"
    TOO_SHORT = "too_short"
    """Less than half a second of audio: the detector cannot say."""
    SILENT = "silent"
    """Nothing but silence: the detector cannot say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """The detector's answer; `score` (0 to 1) is None where it cannot say."""

    verdict: Verdict
    score: float | None
    duration_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A voice; the main one of its BCP 47 `languages` comes first.

    One that was made has a time (Unix seconds) and the SHA-256 of its stored form, in hexadecimal.
    """

    id: str
    display_name: str
    languages: tuple[str, ...]
    models: tuple[str, ...]
    description: str
    created_unix_seconds: float | None = None
    content_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVoice:
    """The answer to `create_voice`; `already_there` if the same bytes had made it before."""

    voice: Voice
    already_there: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model and its own sample rate.

    `default_sampling` has every sampling setting of the model, `tags` the sounds that its text may ask for, and
    `missing_languages` those that it would speak, with what is missing on the service's machine.
    """

    id: str
    description: str
    languages: tuple[str, ...]
    sample_rate_hertz: int
    default_voice: str
    default_sampling: Mapping[str, float] = field(default_factory=dict)
    creates_voices: bool = False
    tags: tuple[str, ...] = ()
    missing_languages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInfo:
    """What the service can do; the default model comes first."""

    version: str
    service_name: str
    models: tuple[Model, ...]
    session_encodings: tuple[Encoding, ...]
    synthesize_encodings: tuple[Encoding, ...]
    min_sample_rate_hertz: int
    max_sample_rate_hertz: int
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A whole text's audio in one piece, with its figures and what it was spoken with."""

    data: bytes
    result: UtteranceResult
    config: SessionConfig
