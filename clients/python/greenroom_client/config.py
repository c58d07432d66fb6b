"""How a session speaks, as the caller says it and as the service confirms it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import TypedDict, Unpack


class Encoding(StrEnum):
    """How audio is coded. `UNKNOWN` stands for a coding that is newer than this client."""

    UNKNOWN = "unknown"
    PCM_S16LE = "s16le"
    PCM_F32LE = "f32le"
    MULAW = "mulaw"
    ALAW = "alaw"
    OGG_OPUS = "ogg_opus"
    WAV = "wav"
    FLAC = "flac"


class TextAggregation(StrEnum):
    """Who decides when enough text has come to be spoken."""

    UNKNOWN = "unknown"
    SERVER = "server"
    """The service waits for the end of a sentence, or for a flush."""
    NONE = "none"
    """Each piece of text is spoken as it comes."""


class Priority(StrEnum):
    """Whether somebody listens while speech is made."""

    UNKNOWN = "unknown"
    INTERACTIVE = "interactive"
    BULK = "bulk"
    """Waits behind all that is interactive."""


class Pacing(StrEnum):
    """How fast audio may leave the service."""

    UNKNOWN = "unknown"
    REALTIME = "realtime"
    """Little more than what has been played: for listeners."""
    NONE = "none"
    """As fast as it is read: for files."""


class ConfigFields(TypedDict, total=False):
    """The fields of `SessionConfig` as keyword arguments; None means the service's default."""

    model: str | None
    voice: str | None
    language: str | None
    encoding: Encoding | None
    sample_rate_hertz: int | None
    seed: int | None
    speaking_rate: float | None
    temperature: float | None
    top_p: float | None
    min_p: float | None
    top_k: int | None
    repetition_penalty: float | None
    cfg_weight: float | None
    exaggeration: float | None
    max_segment_tokens: int | None
    text_aggregation: TextAggregation | None
    max_buffer_delay_seconds: float | None
    pacing: Pacing | None
    max_audio_ahead_seconds: float | None
    priority: Priority | None
    reproducible: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """How to speak; None leaves the choice to the service, whose answer has everything filled in.

    Ranges are the service's to check (`sample_rate_hertz` 8,000 to 48,000, `speaking_rate` 0.5 to 2.0, ...), so that
    a newer service may allow more than this client knows. `temperature` to `max_segment_tokens` belong to models that
    choose speech tokens; `Model.default_sampling` has those that a model has.
    """

    model: str | None = None
    voice: str | None = None
    language: str | None = None
    encoding: Encoding | None = None
    sample_rate_hertz: int | None = None
    seed: int | None = None
    speaking_rate: float | None = None
    temperature: float | None = None
    top_p: float | None = None
    min_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    cfg_weight: float | None = None
    exaggeration: float | None = None
    max_segment_tokens: int | None = None
    text_aggregation: TextAggregation | None = None
    max_buffer_delay_seconds: float | None = None
    pacing: Pacing | None = None
    max_audio_ahead_seconds: float | None = None
    priority: Priority | None = None
    reproducible: bool | None = None

    def with_fields(self, **changes: Unpack[ConfigFields]) -> "SessionConfig":
        """Return the configuration with some fields changed."""
        return replace(self, **changes)


WIRE_PATHS: Mapping[str, str] = {
    "model": "model",
    "voice": "voice",
    "language": "language",
    "encoding": "audio_format.encoding",
    "sample_rate_hertz": "audio_format.sample_rate_hertz",
    "seed": "sampling.seed",
    "speaking_rate": "sampling.speaking_rate",
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
    "min_p": "sampling.min_p",
    "top_k": "sampling.top_k",
    "repetition_penalty": "sampling.repetition_penalty",
    "cfg_weight": "sampling.cfg_weight",
    "exaggeration": "sampling.exaggeration",
    "max_segment_tokens": "sampling.max_segment_tokens",
    "text_aggregation": "text_aggregation",
    "max_buffer_delay_seconds": "max_buffer_delay",
    "pacing": "pacing",
    "max_audio_ahead_seconds": "max_audio_ahead",
    "priority": "priority",
    "reproducible": "reproducible",
}
"""Where each field of `SessionConfig` lies in the wire's message of that name."""

SAMPLING_FIELDS = tuple(name for name, path in WIRE_PATHS.items() if path.startswith("sampling."))
"""The fields that the wire's `Sampling` has, under the same names."""

assert set(WIRE_PATHS) == {field.name for field in fields(SessionConfig)} == set(ConfigFields.__annotations__)
