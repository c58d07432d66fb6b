"""What the service says about itself, its voices and a piece of audio."""

from dataclasses import dataclass
from enum import StrEnum

from greenroom_client.config import Encoding, SessionConfig
from greenroom_client.events import Limits, UtteranceResult


class Health(StrEnum):
    """What the standard health check answers."""

    UNKNOWN = "unknown"
    SERVING = "serving"
    NOT_SERVING = "not_serving"
    SERVICE_UNKNOWN = "service_unknown"


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
    """A voice; the main one of its BCP 47 `languages` comes first."""

    id: str
    display_name: str
    languages: tuple[str, ...]
    models: tuple[str, ...]
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model and its own sample rate."""

    id: str
    description: str
    languages: tuple[str, ...]
    sample_rate_hertz: int
    default_voice: str


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
