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
    text_aggregation: TextAggregation | None
    max_buffer_delay_seconds: float | None
    pacing: Pacing | None
    max_audio_ahead_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """How to speak; None leaves the choice to the service, whose answer has everything filled in.

    Ranges are the service's to check (`sample_rate_hertz` 8,000 to 48,000, `speaking_rate` 0.5 to 2.0, ...), so that
    a newer service may allow more than this client knows.
    """

    model: str | None = None
    voice: str | None = None
    language: str | None = None
    encoding: Encoding | None = None
    sample_rate_hertz: int | None = None
    seed: int | None = None
    speaking_rate: float | None = None
    text_aggregation: TextAggregation | None = None
    max_buffer_delay_seconds: float | None = None
    pacing: Pacing | None = None
    max_audio_ahead_seconds: float | None = None

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
    "text_aggregation": "text_aggregation",
    "max_buffer_delay_seconds": "max_buffer_delay",
    "pacing": "pacing",
    "max_audio_ahead_seconds": "max_audio_ahead",
}
"""Where each field of `SessionConfig` lies in the wire's message of that name."""

assert set(WIRE_PATHS) == {field.name for field in fields(SessionConfig)} == set(ConfigFields.__annotations__)
