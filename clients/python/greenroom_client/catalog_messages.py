"""What the service says about itself, its voices and a piece of audio, from the wire."""

from collections.abc import Iterable, Mapping

from grpc_health.v1 import health_pb2

from greenroom.tts.v1 import tts_pb2
from greenroom_client.config_messages import encoding_value, sampling_values, seconds
from greenroom_client.responses import limits_value
from greenroom_client.values import Health, Model, NewVoice, ServiceInfo, Verdict, Voice, VoiceContent, Watermark

VERDICTS: Mapping[int, Verdict] = {
    tts_pb2.WATERMARK_VERDICT_PRESENT: Verdict.PRESENT,
    tts_pb2.WATERMARK_VERDICT_ABSENT: Verdict.ABSENT,
    tts_pb2.WATERMARK_VERDICT_TOO_SHORT: Verdict.TOO_SHORT,
    tts_pb2.WATERMARK_VERDICT_SILENT: Verdict.SILENT,
}
VOICE_CONTENTS: Mapping[VoiceContent, tts_pb2.VoiceContent.ValueType] = {
    VoiceContent.REFERENCE_AUDIO: tts_pb2.VOICE_CONTENT_REFERENCE_AUDIO,
    VoiceContent.UPSTREAM_CONDITIONALS: tts_pb2.VOICE_CONTENT_UPSTREAM_CONDITIONALS,
}
HEALTHS: Mapping[int, Health] = {
    health_pb2.HealthCheckResponse.SERVING: Health.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING: Health.NOT_SERVING,
    health_pb2.HealthCheckResponse.SERVICE_UNKNOWN: Health.SERVICE_UNKNOWN,
}
SERVICE_NAME = tts_pb2.DESCRIPTOR.services_by_name["TextToSpeechService"].full_name
"""The speech service's name in health checks."""


def health_value(message: health_pb2.HealthCheckResponse) -> Health:
    """Return what the health check says."""
    return HEALTHS.get(message.status, Health.UNKNOWN)


def voice_value(message: tts_pb2.Voice) -> Voice:
    """Return a voice."""
    return Voice(
        id=message.id,
        display_name=message.display_name,
        languages=tuple(message.languages),
        models=tuple(message.models),
        description=message.description,
        created_unix_seconds=message.create_time.ToNanoseconds() / 1e9 if message.HasField("create_time") else None,
        content_sha256=message.content_sha256,
    )


def new_voice_value(message: tts_pb2.CreateVoiceResponse) -> NewVoice:
    """Return the voice that was made."""
    return NewVoice(voice=voice_value(message.voice), already_there=message.already_there)


def voice_spec_message(
    *, display_name: str | None, model: str | None, languages: Iterable[str], content: VoiceContent
) -> tts_pb2.VoiceSpec:
    """Return what a new voice is to be; None is left out."""
    return tts_pb2.VoiceSpec(
        display_name=display_name or "",
        model=model or "",
        languages=languages,
        content=VOICE_CONTENTS[VoiceContent(content)],
    )


def service_info(message: tts_pb2.GetServiceInfoResponse) -> ServiceInfo:
    """Return what the service can do."""
    return ServiceInfo(
        version=message.version,
        service_name=message.service_name,
        models=tuple(_model(model) for model in message.models),
        session_encodings=tuple(encoding_value(number) for number in message.session_encodings),
        synthesize_encodings=tuple(encoding_value(number) for number in message.synthesize_encodings),
        min_sample_rate_hertz=message.min_sample_rate_hertz,
        max_sample_rate_hertz=message.max_sample_rate_hertz,
        limits=limits_value(message.limits),
    )


def watermark_value(message: tts_pb2.DetectWatermarkResponse) -> Watermark:
    """Return what the detector found."""
    return Watermark(
        verdict=VERDICTS.get(message.verdict, Verdict.UNKNOWN),
        score=message.score if message.HasField("score") else None,
        duration_seconds=seconds(message.duration),
    )


def _model(message: tts_pb2.Model) -> Model:
    return Model(
        id=message.id,
        description=message.description,
        languages=tuple(message.languages),
        sample_rate_hertz=message.sample_rate_hertz,
        default_voice=message.default_voice,
        default_sampling=sampling_values(message.default_sampling),
        creates_voices=message.creates_voices,
        tags=tuple(message.tags),
        missing_languages={each.language: tuple(each.missing) for each in message.missing_languages},
    )
