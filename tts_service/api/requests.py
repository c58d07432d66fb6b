"""Proto -> value for the speech API. Values that are out of range are let through: `resolve` names the field."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration

from greenroom.tts.v1 import tts_pb2 as pb
from tts_service.errors import CallerError, Reason, bad_config
from tts_service.speech import protocol
from tts_service.speech.encoded_audio import check_format
from tts_service.speech.session_config import (
    SETTING_RANGES,
    Aggregation,
    ConfigChange,
    ConfigRequest,
    Pacing,
)
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, AudioFormat, Encoding, Priority

Value = TypeVar("Value")

MAX_ID_CHARS = 128
MAX_DURATION_SECONDS = 315_576_000_000
"""The bound of google.protobuf.Duration: 10,000 years."""
_ID = re.compile(r"[\x20-\x7e]{1,128}")

ENCODINGS: Mapping[int, Encoding] = {
    pb.AUDIO_ENCODING_UNSPECIFIED: Encoding.PCM_S16LE,
    pb.AUDIO_ENCODING_PCM_S16LE: Encoding.PCM_S16LE,
    pb.AUDIO_ENCODING_PCM_F32LE: Encoding.PCM_F32LE,
    pb.AUDIO_ENCODING_MULAW: Encoding.MULAW,
    pb.AUDIO_ENCODING_ALAW: Encoding.ALAW,
    pb.AUDIO_ENCODING_OGG_OPUS: Encoding.OGG_OPUS,
    pb.AUDIO_ENCODING_WAV: Encoding.WAV,
    pb.AUDIO_ENCODING_FLAC: Encoding.FLAC,
}
AGGREGATIONS: Mapping[int, Aggregation | None] = {
    pb.TEXT_AGGREGATION_UNSPECIFIED: None,
    pb.TEXT_AGGREGATION_SERVER: Aggregation.SERVER,
    pb.TEXT_AGGREGATION_NONE: Aggregation.NONE,
}
PACINGS: Mapping[int, Pacing | None] = {
    pb.PACING_UNSPECIFIED: None,
    pb.PACING_REALTIME: Pacing.REALTIME,
    pb.PACING_NONE: Pacing.NONE,
}
PRIORITIES: Mapping[int, Priority | None] = {
    pb.PRIORITY_UNSPECIFIED: None,
    pb.PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
    pb.PRIORITY_BULK: Priority.BULK,
}


def config_request(config: pb.SessionConfig, *, streaming: bool) -> ConfigRequest:
    """Return what a client asked for; raise BAD_CONFIG for a value that has no meaning."""
    audio_format = audio_format_of(config.audio_format)
    check_format(audio_format, streaming=streaming)
    sampling = config.sampling
    return ConfigRequest(
        model=config.model or None,
        voice=config.voice or None,
        language=config.language or None,
        audio_format=audio_format,
        seed=sampling.seed if sampling.HasField("seed") else None,
        speaking_rate=sampling.speaking_rate if sampling.HasField("speaking_rate") else None,
        settings={each.name: value for each, value in sampling.ListFields() if each.name in SETTING_RANGES},
        text_aggregation=_enum("text_aggregation", config.text_aggregation, AGGREGATIONS),
        max_buffer_delay=_seconds("max_buffer_delay", config, "max_buffer_delay"),
        pacing=_enum("pacing", config.pacing, PACINGS),
        max_audio_ahead=_seconds("max_audio_ahead", config, "max_audio_ahead"),
        priority=_enum("priority", config.priority, PRIORITIES),
        reproducible=config.reproducible,
    )


def whole_text_request(config: pb.SessionConfig) -> ConfigRequest:
    """Return what was asked for one whole text: what belongs to conversations does not apply."""
    asked = config_request(config, streaming=False)
    return replace(asked, text_aggregation=None, max_buffer_delay=None, pacing=Pacing.NONE, max_audio_ahead=None)


def audio_format_of(audio_format: pb.AudioFormat) -> AudioFormat:
    """Return an audio format; an unknown encoding is BAD_CONFIG, the rate is checked elsewhere."""
    encoding = _enum("audio_format.encoding", audio_format.encoding, ENCODINGS)
    assert encoding is not None
    return AudioFormat(encoding=encoding, sample_rate_hertz=audio_format.sample_rate_hertz or MODEL_SAMPLE_RATE_HERTZ)


def client_message(request: pb.StreamingSynthesizeRequest | CallerError) -> protocol.ClientMessage:
    """Return a later message of a session; one with an invalid field, or that did not decode, becomes `Refused`.

    A second config raises CONFIG_NOT_FIRST: it ends the session.
    """
    if isinstance(request, CallerError):
        return protocol.Refused(utterance_id="", error=request)
    kind = request.WhichOneof("request")
    utterance_id = ""
    if kind == "config":
        raise CallerError(Reason.CONFIG_NOT_FIRST, "a session has one config, and it comes first")
    try:
        if kind in {"text", "flush", "end_utterance", "cancel", "playback"}:
            utterance_id = getattr(request, kind).utterance_id
            _check_id(f"{kind}.utterance_id", utterance_id)
        return _message(request, kind, utterance_id)
    except CallerError as error:
        return protocol.Refused(utterance_id=utterance_id[:MAX_ID_CHARS], error=error)


def _message(request: pb.StreamingSynthesizeRequest, kind: str | None, utterance_id: str) -> protocol.ClientMessage:
    match kind:
        case "text":
            return protocol.TextChunk(utterance_id=utterance_id, text=request.text.text)
        case "flush":
            if len(request.flush.flush_id) > MAX_ID_CHARS:
                raise bad_config("flush.flush_id", f"holds more than {MAX_ID_CHARS} characters")
            return protocol.Flush(utterance_id=utterance_id, flush_id=request.flush.flush_id)
        case "end_utterance":
            return protocol.EndUtterance(utterance_id=utterance_id)
        case "cancel":
            heard = request.cancel.heard_samples if request.cancel.HasField("heard_samples") else None
            _check_samples("cancel.heard_samples", heard)
            return protocol.CancelUtterance(utterance_id=utterance_id, heard_samples=heard)
        case "playback":
            _check_samples("playback.played_samples", request.playback.played_samples)
            return protocol.PlaybackPosition(utterance_id=utterance_id, played_samples=request.playback.played_samples)
        case "update":
            paths = tuple(request.update.update_mask.paths)
            asked = config_request(_masked(request.update.config, paths), streaming=True)
            return protocol.UpdateConfig(change=ConfigChange(request=asked, paths=paths))
        case _:
            raise bad_config("request", "is empty, or of a kind that this version does not know")


def _masked(config: pb.SessionConfig, paths: tuple[str, ...]) -> pb.SessionConfig:
    """Return only what a mask names, so that nothing beside it is judged; what is fixed is never named."""
    kept = pb.SessionConfig()
    kept.CopyFrom(config)
    named = {path.split(".")[0] for path in paths}
    for field in config.DESCRIPTOR.fields:
        if field.name in {"audio_format", "priority", "reproducible"} or not named & {field.name, "*"}:
            kept.ClearField(field.name)
    return kept


def _check_id(path: str, utterance_id: str) -> None:
    if not _ID.fullmatch(utterance_id):
        raise bad_config(path, f"must be 1 to {MAX_ID_CHARS} printable ASCII characters")


def _check_samples(path: str, samples: int | None) -> None:
    if samples is not None and samples < 0:
        raise bad_config(path, f"must not be negative, but is {samples}")


def _enum(path: str, number: int, values: Mapping[int, Value]) -> Value:
    if number not in values:
        raise bad_config(path, f"{number} is no value that this version knows")
    return values[number]


def _seconds(path: str, message: pb.SessionConfig, name: str) -> float | None:
    if not message.HasField(name):  # type: ignore[arg-type]  # The name is one of the two Durations.
        return None
    value: Duration = getattr(message, name)
    if abs(value.nanos) >= 10**9 or abs(value.seconds) > MAX_DURATION_SECONDS or value.seconds * value.nanos < 0:
        raise bad_config(path, "is no valid Duration")
    return value.seconds + value.nanos / 1e9
