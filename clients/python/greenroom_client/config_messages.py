"""Configurations, formats and lengths of time on the wire, in both directions.

Rule: what is newer than this client is no error. An unknown enum value becomes UNKNOWN.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration

from greenroom.tts.v1 import tts_pb2
from greenroom_client.config import SAMPLING_FIELDS, Encoding, Pacing, Priority, SessionConfig, TextAggregation

K = TypeVar("K")
V = TypeVar("V")

ENCODINGS: Mapping[Encoding, tts_pb2.AudioEncoding.ValueType] = {
    Encoding.PCM_S16LE: tts_pb2.AUDIO_ENCODING_PCM_S16LE,
    Encoding.PCM_F32LE: tts_pb2.AUDIO_ENCODING_PCM_F32LE,
    Encoding.MULAW: tts_pb2.AUDIO_ENCODING_MULAW,
    Encoding.ALAW: tts_pb2.AUDIO_ENCODING_ALAW,
    Encoding.OGG_OPUS: tts_pb2.AUDIO_ENCODING_OGG_OPUS,
    Encoding.WAV: tts_pb2.AUDIO_ENCODING_WAV,
    Encoding.FLAC: tts_pb2.AUDIO_ENCODING_FLAC,
}
AGGREGATIONS: Mapping[TextAggregation, tts_pb2.TextAggregation.ValueType] = {
    TextAggregation.SERVER: tts_pb2.TEXT_AGGREGATION_SERVER,
    TextAggregation.NONE: tts_pb2.TEXT_AGGREGATION_NONE,
}
PACINGS: Mapping[Pacing, tts_pb2.Pacing.ValueType] = {
    Pacing.REALTIME: tts_pb2.PACING_REALTIME,
    Pacing.NONE: tts_pb2.PACING_NONE,
}
PRIORITIES: Mapping[Priority, tts_pb2.Priority.ValueType] = {
    Priority.INTERACTIVE: tts_pb2.PRIORITY_INTERACTIVE,
    Priority.BULK: tts_pb2.PRIORITY_BULK,
}
_ENCODINGS_BY_NUMBER = {number: encoding for encoding, number in ENCODINGS.items()}
_AGGREGATIONS_BY_NUMBER = {number: aggregation for aggregation, number in AGGREGATIONS.items()}
_PACINGS_BY_NUMBER = {number: pacing for pacing, number in PACINGS.items()}
_PRIORITIES_BY_NUMBER = {number: priority for priority, number in PRIORITIES.items()}


def config_message(config: SessionConfig) -> tts_pb2.SessionConfig:
    """Return a configuration as its message; None is left out."""
    message = tts_pb2.SessionConfig(
        model=config.model or "",
        voice=config.voice or "",
        language=config.language or "",
        audio_format=audio_format_message(config.encoding, config.sample_rate_hertz),
        sampling=_sampling_message(config),
        reproducible=config.reproducible,
    )
    if config.text_aggregation is not None:
        message.text_aggregation = _number(AGGREGATIONS, config.text_aggregation)
    if config.pacing is not None:
        message.pacing = _number(PACINGS, config.pacing)
    if config.priority is not None:
        message.priority = _number(PRIORITIES, config.priority)
    if config.max_buffer_delay_seconds is not None:
        message.max_buffer_delay.CopyFrom(duration(config.max_buffer_delay_seconds))
    if config.max_audio_ahead_seconds is not None:
        message.max_audio_ahead.CopyFrom(duration(config.max_audio_ahead_seconds))
    return message


def audio_format_message(encoding: Encoding | None, sample_rate_hertz: int | None) -> tts_pb2.AudioFormat:
    """Return an audio format as its message; None is left out."""
    message = tts_pb2.AudioFormat(sample_rate_hertz=sample_rate_hertz or 0)
    if encoding is not None:
        message.encoding = _number(ENCODINGS, encoding)
    return message


def session_config(message: tts_pb2.SessionConfig) -> SessionConfig:
    """Return an effective configuration; what the service left out stays None."""
    format_ = message.audio_format
    return SessionConfig(
        model=message.model or None,
        voice=message.voice or None,
        language=message.language or None,
        encoding=encoding_value(format_.encoding) if format_.encoding else None,
        sample_rate_hertz=format_.sample_rate_hertz or None,
        text_aggregation=_AGGREGATIONS_BY_NUMBER.get(message.text_aggregation),
        max_buffer_delay_seconds=seconds(message.max_buffer_delay) if message.HasField("max_buffer_delay") else None,
        pacing=_PACINGS_BY_NUMBER.get(message.pacing),
        priority=_PRIORITIES_BY_NUMBER.get(message.priority),
        reproducible=message.reproducible if message.HasField("reproducible") else None,
        max_audio_ahead_seconds=seconds(message.max_audio_ahead) if message.HasField("max_audio_ahead") else None,
        **sampling_values(message.sampling),
    )


def sampling_values(message: tts_pb2.Sampling) -> dict[str, Any]:
    """Return those settings that are there, by the names of `SessionConfig`'s fields."""
    return {field.name: value for field, value in message.ListFields() if field.name in SAMPLING_FIELDS}


def _sampling_message(config: SessionConfig) -> tts_pb2.Sampling:
    message = tts_pb2.Sampling()
    for name in SAMPLING_FIELDS:
        value = getattr(config, name)
        if value is not None:
            setattr(message, name, value)
    return message


def encoding_value(number: int) -> Encoding:
    """Return an encoding by its number on the wire."""
    return _ENCODINGS_BY_NUMBER.get(tts_pb2.AudioEncoding.ValueType(number), Encoding.UNKNOWN)


def duration(seconds: float) -> Duration:
    """Return a length of time as its message."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def seconds(message: Duration) -> float:
    """Return a length of time in seconds."""
    return message.ToNanoseconds() / 1e9


def _number(numbers: Mapping[K, V], value: K) -> V:
    """Return the wire's number of a value, or of its name. Raises ValueError for one that cannot be asked for."""
    if value not in numbers:
        raise ValueError(f"{value!r} is none of {', '.join(map(str, numbers))}")
    return numbers[value]
