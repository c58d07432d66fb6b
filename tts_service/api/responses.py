"""Value -> proto for the speech API."""

from collections.abc import Mapping

from google.protobuf.duration_pb2 import Duration

from greenroom.tts.v1 import tts_pb2 as pb
from tts_service.api.requests import AGGREGATIONS, ENCODINGS, PACINGS, PRIORITIES
from tts_service.api.statuses import to_status
from tts_service.scheduling.verdicts import Queued
from tts_service.speech import protocol
from tts_service.speech.encoded_audio import SAMPLE_RATE_RANGE_HERTZ
from tts_service.speech.session_config import ModelFacts, Offer, SessionConfig, SettingValues, VoiceFacts
from tts_service.speech.session_limits import SessionLimits
from tts_service.speech.speech_outcome import SpeechGuard
from tts_service.types import Encoding

WIRE_ENCODINGS: Mapping[Encoding, pb.AudioEncoding.ValueType] = {
    value: pb.AudioEncoding.ValueType(number) for number, value in ENCODINGS.items() if number
}
_WIRE_AGGREGATIONS = {value: pb.TextAggregation.ValueType(number) for number, value in AGGREGATIONS.items() if value}
_WIRE_PACINGS = {value: pb.Pacing.ValueType(number) for number, value in PACINGS.items() if value}
_WIRE_PRIORITIES = {value: pb.Priority.ValueType(number) for number, value in PRIORITIES.items() if value}
_WIRE_FINISH = {
    protocol.FinishReason.COMPLETE: pb.FINISH_REASON_COMPLETE,
    protocol.FinishReason.EMPTY: pb.FINISH_REASON_EMPTY,
}
_WIRE_GUARDS = {
    SpeechGuard.ALIGNMENT: pb.SPEECH_GUARD_ALIGNMENT,
    SpeechGuard.TOKEN_LIMIT: pb.SPEECH_GUARD_TOKEN_LIMIT,
    SpeechGuard.TEXT_BUDGET: pb.SPEECH_GUARD_TEXT_BUDGET,
    SpeechGuard.LOOP: pb.SPEECH_GUARD_LOOP,
}
_WIRE_WAITING = {
    protocol.WaitingFor.TEXT: pb.WAITING_FOR_TEXT,
    protocol.WaitingFor.PLAYBACK: pb.WAITING_FOR_PLAYBACK,
    protocol.WaitingFor.CAPACITY: pb.WAITING_FOR_CAPACITY,
    protocol.WaitingFor.RESTORE: pb.WAITING_FOR_RESTORE,
}


def duration(seconds: float) -> Duration:
    """Return a Duration of so many seconds."""
    value = Duration()
    value.FromNanoseconds(round(seconds * 1e9))
    return value


def wire_config(config: SessionConfig) -> pb.SessionConfig:
    """Return an effective configuration."""
    return pb.SessionConfig(
        model=config.model,
        voice=config.voice,
        language=config.language,
        audio_format=pb.AudioFormat(
            encoding=WIRE_ENCODINGS[config.audio_format.encoding],
            sample_rate_hertz=config.audio_format.sample_rate_hertz,
        ),
        sampling=wire_sampling(config.settings, seed=config.seed, speaking_rate=config.speaking_rate),
        text_aggregation=_WIRE_AGGREGATIONS[config.text_aggregation],
        max_buffer_delay=duration(config.max_buffer_delay),
        pacing=_WIRE_PACINGS[config.pacing],
        max_audio_ahead=duration(config.max_audio_ahead),
        priority=_WIRE_PRIORITIES[config.priority],
        reproducible=config.reproducible,
    )


def wire_sampling(
    settings: SettingValues, *, seed: int | None = None, speaking_rate: float | None = None
) -> pb.Sampling:
    """Return sampling with these settings."""
    sampling = pb.Sampling(seed=seed, speaking_rate=speaking_rate)
    for name, value in settings.items():
        setattr(sampling, name, value)
    return sampling


def wire_limits(limits: SessionLimits, *, sessions: int, detect_seconds: float, detect_bytes: int) -> pb.Limits:
    """Return the bounds that a client may want to know."""
    return pb.Limits(
        utterance_text_bytes=limits.utterance_text_bytes,
        waiting_utterances=limits.waiting_utterances,
        waiting_flushes=limits.waiting_flushes,
        idle_timeout=duration(limits.idle_timeout_seconds),
        sessions=sessions,
        detect_audio=duration(detect_seconds),
        detect_audio_bytes=detect_bytes,
    )


def wire_voice_limits(*, min_seconds: float, max_seconds: float, max_bytes: int) -> pb.Limits:
    """Return the bounds of a new voice's reference audio."""
    return pb.Limits(
        min_voice_audio=duration(min_seconds), max_voice_audio=duration(max_seconds), voice_audio_bytes=max_bytes
    )


def wire_voice(voice: VoiceFacts) -> pb.Voice:
    """Return a voice."""
    message = pb.Voice(
        id=voice.id,
        display_name=voice.display_name,
        languages=voice.languages,
        models=voice.models,
        description=voice.description,
        content_sha256=voice.content_sha256,
    )
    if voice.created_unix_seconds is not None:
        message.create_time.FromNanoseconds(round(voice.created_unix_seconds * 1e9))
    return message


def wire_model(model: ModelFacts) -> pb.Model:
    """Return a model."""
    return pb.Model(
        id=model.id,
        description=model.description,
        languages=model.languages,
        sample_rate_hertz=model.sample_rate_hertz,
        default_voice=model.default_voice,
        default_sampling=wire_sampling(model.settings),
        creates_voices=model.creates_voices,
        tags=model.tags,
        missing_languages=[
            pb.MissingLanguage(language=tag, missing=missing) for tag, missing in model.missing_languages.items()
        ],
    )


def session_response(
    message: protocol.ServerMessage, *, session_id: str, limits: pb.Limits
) -> pb.StreamingSynthesizeResponse:
    """Return what a session says, for the wire."""
    match message:
        case protocol.SessionStarted(config=config):
            started = pb.SessionStarted(session_id=session_id, effective_config=wire_config(config), limits=limits)
            return pb.StreamingSynthesizeResponse(session_started=started)
        case protocol.UtteranceStarted():
            return pb.StreamingSynthesizeResponse(utterance_started=utterance_started(message))
        case protocol.AudioChunk():
            return pb.StreamingSynthesizeResponse(audio=audio_chunk(message))
        case protocol.SegmentDone():
            return pb.StreamingSynthesizeResponse(segment_done=segment_done(message))
        case protocol.Flushed():
            flushed = pb.Flushed(
                utterance_id=message.utterance_id, flush_id=message.flush_id, samples_sent=message.samples_sent
            )
            return pb.StreamingSynthesizeResponse(flushed=flushed)
        case protocol.UtteranceDone():
            return pb.StreamingSynthesizeResponse(utterance_done=utterance_done(message))
        case protocol.UtteranceCancelled():
            return pb.StreamingSynthesizeResponse(utterance_cancelled=_cancelled(message))
        case protocol.UtteranceError():
            error = pb.UtteranceError(
                utterance_id=message.utterance_id, error=to_status(message.error), closed=message.closed
            )
            return pb.StreamingSynthesizeResponse(utterance_error=error)
        case protocol.Progress():
            progress = pb.Progress(utterance_id=message.utterance_id, waiting_for=_WIRE_WAITING[message.waiting_for])
            return pb.StreamingSynthesizeResponse(progress=progress)
        case protocol.DrainingNotice() | protocol.RestoringNotice():
            return pb.StreamingSynthesizeResponse(notice=_notice(message))


def queued(verdict: Queued) -> pb.ServerNotice:
    """Return where somebody stands who waits to be let in."""
    return pb.ServerNotice(
        queued=pb.Queued(position=verdict.position, expected_wait=duration(max(0.0, verdict.wait_seconds)))
    )


def utterance_started(message: protocol.UtteranceStarted) -> pb.UtteranceStarted:
    """Return the opening of an utterance."""
    return pb.UtteranceStarted(utterance_id=message.utterance_id, effective_config=wire_config(message.config))


def audio_chunk(message: protocol.AudioChunk) -> pb.AudioChunk:
    """Return a chunk of audio."""
    return pb.AudioChunk(
        utterance_id=message.utterance_id,
        sequence=message.sequence,
        sample_offset=message.sample_offset,
        sample_count=message.piece.sample_count,
        data=message.piece.data,
        last=message.last,
    )


def segment_done(message: protocol.SegmentDone) -> pb.SegmentDone:
    """Return a segment's spans."""
    return pb.SegmentDone(
        utterance_id=message.utterance_id,
        text_start=message.text_start,
        text_end=message.text_end,
        sample_start=message.sample_start,
        sample_end=message.sample_end,
    )


def utterance_done(message: protocol.UtteranceDone) -> pb.UtteranceDone:
    """Return an utterance's figures."""
    return pb.UtteranceDone(
        utterance_id=message.utterance_id,
        finish_reason=_WIRE_FINISH[message.finish_reason],
        samples=message.samples,
        time_to_first_audio=duration(message.time_to_first_audio_seconds),
        queue_wait=duration(message.queue_wait_seconds),
        real_time_factor=message.real_time_factor,
        underruns=message.underruns,
        speech_tokens=message.speech_tokens,
        guarded_segments=[
            pb.GuardedSegment(
                text_start=each.segment.text_start, text_end=each.segment.text_end, guard=_WIRE_GUARDS[each.guard]
            )
            for each in message.guarded_segments
        ],
    )


def _cancelled(message: protocol.UtteranceCancelled) -> pb.UtteranceCancelled:
    return pb.UtteranceCancelled(
        utterance_id=message.utterance_id,
        text_spoken=message.text_spoken,
        text_unspoken=message.text_unspoken,
        samples_sent=message.samples_sent,
        already_done=message.already_done,
    )


def _notice(message: protocol.DrainingNotice | protocol.RestoringNotice) -> pb.ServerNotice:
    if isinstance(message, protocol.DrainingNotice):
        return pb.ServerNotice(draining=pb.Draining(deadline=duration(message.seconds_left)))
    restoring = pb.Restoring(module=message.module)
    if message.expected_seconds is not None:
        restoring.expected.CopyFrom(duration(message.expected_seconds))
    return pb.ServerNotice(restoring=restoring)


def synthesize_response(message: protocol.ServerMessage) -> pb.SynthesizeResponse | None:
    """Return what `Synthesize` says; None for what belongs to conversations only."""
    match message:
        case protocol.UtteranceStarted():
            return pb.SynthesizeResponse(started=utterance_started(message))
        case protocol.AudioChunk():
            return pb.SynthesizeResponse(audio=audio_chunk(message))
        case protocol.SegmentDone():
            return pb.SynthesizeResponse(segment_done=segment_done(message))
        case protocol.UtteranceDone():
            return pb.SynthesizeResponse(done=utterance_done(message))
        case _:
            return None


def service_info(offer: Offer, *, version: str, service_name: str, limits: pb.Limits) -> pb.GetServiceInfoResponse:
    """Return what the service can do."""
    return pb.GetServiceInfoResponse(
        version=version,
        models=[wire_model(model) for model in offer.models],
        session_encodings=[WIRE_ENCODINGS[encoding] for encoding in Encoding if encoding is not Encoding.FLAC],
        synthesize_encodings=[WIRE_ENCODINGS[encoding] for encoding in Encoding],
        min_sample_rate_hertz=SAMPLE_RATE_RANGE_HERTZ[0],
        max_sample_rate_hertz=SAMPLE_RATE_RANGE_HERTZ[1],
        limits=limits,
        service_name=service_name,
    )
