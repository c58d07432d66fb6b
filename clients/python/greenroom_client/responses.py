"""What the service says while it speaks, as values.

Rule: what is newer than this client is no error. An unknown enum value becomes UNKNOWN, an unknown answer None.
"""

from collections.abc import Callable, Mapping
from typing import Any

from greenroom.tts.v1 import tts_pb2
from greenroom_client.config_messages import seconds, session_config
from greenroom_client.events import (
    AudioChunk,
    Cancelled,
    Draining,
    FinishReason,
    Flushed,
    GuardedSegment,
    Limits,
    Progress,
    Queued,
    Refusal,
    Restoring,
    SegmentSpoken,
    ServerEvent,
    SessionStarted,
    SpeechGuard,
    UtteranceDone,
    UtteranceStarted,
    WaitingFor,
)
from greenroom_client.statuses import from_status

FINISH_REASONS: Mapping[int, FinishReason] = {
    tts_pb2.FINISH_REASON_COMPLETE: FinishReason.COMPLETE,
    tts_pb2.FINISH_REASON_EMPTY: FinishReason.EMPTY,
}
GUARDS: Mapping[int, SpeechGuard] = {
    tts_pb2.SPEECH_GUARD_ALIGNMENT: SpeechGuard.ALIGNMENT,
    tts_pb2.SPEECH_GUARD_TOKEN_LIMIT: SpeechGuard.TOKEN_LIMIT,
    tts_pb2.SPEECH_GUARD_TEXT_BUDGET: SpeechGuard.TEXT_BUDGET,
    tts_pb2.SPEECH_GUARD_LOOP: SpeechGuard.LOOP,
}
WAITS: Mapping[int, WaitingFor] = {
    tts_pb2.WAITING_FOR_TEXT: WaitingFor.TEXT,
    tts_pb2.WAITING_FOR_PLAYBACK: WaitingFor.PLAYBACK,
    tts_pb2.WAITING_FOR_CAPACITY: WaitingFor.CAPACITY,
    tts_pb2.WAITING_FOR_RESTORE: WaitingFor.RESTORE,
}


def session_event(response: tts_pb2.StreamingSynthesizeResponse) -> ServerEvent | None:
    """Return what a session says; None if it is newer than this client."""
    kind = response.WhichOneof("response")
    return None if kind is None else _READERS[kind](getattr(response, kind))


def synthesis_event(response: tts_pb2.SynthesizeResponse) -> ServerEvent | None:
    """Return what a whole-text synthesis says; None if it is newer than this client."""
    kind = response.WhichOneof("response")
    return None if kind is None else _READERS[_SYNTHESIS_KINDS.get(kind, kind)](getattr(response, kind))


def limits_value(message: tts_pb2.Limits) -> Limits:
    """Return the service's bounds."""
    return Limits(
        utterance_text_bytes=message.utterance_text_bytes,
        waiting_utterances=message.waiting_utterances,
        waiting_flushes=message.waiting_flushes,
        idle_timeout_seconds=seconds(message.idle_timeout),
        sessions=message.sessions,
        detect_audio_seconds=seconds(message.detect_audio),
        detect_audio_bytes=message.detect_audio_bytes,
        min_voice_audio_seconds=seconds(message.min_voice_audio),
        max_voice_audio_seconds=seconds(message.max_voice_audio),
        voice_audio_bytes=message.voice_audio_bytes,
    )


def _utterance_started(message: tts_pb2.UtteranceStarted) -> UtteranceStarted:
    return UtteranceStarted(utterance_id=message.utterance_id, config=session_config(message.effective_config))


def _audio_chunk(message: tts_pb2.AudioChunk) -> AudioChunk:
    return AudioChunk(
        utterance_id=message.utterance_id,
        sequence=message.sequence,
        sample_offset=message.sample_offset,
        sample_count=message.sample_count,
        data=message.data,
        last=message.last,
    )


def _segment_spoken(message: tts_pb2.SegmentDone) -> SegmentSpoken:
    return SegmentSpoken(
        utterance_id=message.utterance_id,
        text_start=message.text_start,
        text_end=message.text_end,
        sample_start=message.sample_start,
        sample_end=message.sample_end,
    )


def _utterance_done(message: tts_pb2.UtteranceDone) -> UtteranceDone:
    return UtteranceDone(
        utterance_id=message.utterance_id,
        finish_reason=FINISH_REASONS.get(message.finish_reason, FinishReason.UNKNOWN),
        samples=message.samples,
        first_audio_seconds=seconds(message.time_to_first_audio),
        queue_wait_seconds=seconds(message.queue_wait),
        real_time_factor=message.real_time_factor,
        underruns=message.underruns,
        speech_tokens=message.speech_tokens,
        guarded_segments=tuple(_guarded_segment(each) for each in message.guarded_segments),
    )


def _guarded_segment(message: tts_pb2.GuardedSegment) -> GuardedSegment:
    guard = GUARDS.get(message.guard, SpeechGuard.UNKNOWN)
    return GuardedSegment(text_start=message.text_start, text_end=message.text_end, guard=guard)


def _session_started(message: tts_pb2.SessionStarted) -> SessionStarted:
    return SessionStarted(
        session_id=message.session_id,
        config=session_config(message.effective_config),
        limits=limits_value(message.limits),
    )


def _flushed(message: tts_pb2.Flushed) -> Flushed:
    return Flushed(utterance_id=message.utterance_id, flush_id=message.flush_id, samples_sent=message.samples_sent)


def _cancelled(message: tts_pb2.UtteranceCancelled) -> Cancelled:
    return Cancelled(
        utterance_id=message.utterance_id,
        text_spoken=message.text_spoken,
        text_unspoken=message.text_unspoken,
        samples_sent=message.samples_sent,
        already_done=message.already_done,
    )


def _refusal(message: tts_pb2.UtteranceError) -> Refusal:
    return Refusal(utterance_id=message.utterance_id, error=from_status(message.error), closed=message.closed)


def _progress(message: tts_pb2.Progress) -> Progress:
    return Progress(utterance_id=message.utterance_id, waiting_for=WAITS.get(message.waiting_for, WaitingFor.UNKNOWN))


def _notice(message: tts_pb2.ServerNotice) -> Draining | Restoring | Queued | None:
    match message.WhichOneof("notice"):
        case "draining":
            return Draining(seconds_left=seconds(message.draining.deadline))
        case "restoring":
            restoring = message.restoring
            expected = seconds(restoring.expected) if restoring.HasField("expected") else None
            return Restoring(module=restoring.module, expected_seconds=expected)
        case "queued":
            return Queued(position=message.queued.position, expected_seconds=seconds(message.queued.expected_wait))
        case None:
            return None


_READERS: Mapping[str, Callable[[Any], ServerEvent | None]] = {
    "session_started": _session_started,
    "utterance_started": _utterance_started,
    "audio": _audio_chunk,
    "segment_done": _segment_spoken,
    "flushed": _flushed,
    "utterance_done": _utterance_done,
    "utterance_cancelled": _cancelled,
    "utterance_error": _refusal,
    "progress": _progress,
    "notice": _notice,
}
_SYNTHESIS_KINDS: Mapping[str, str] = {"started": "utterance_started", "done": "utterance_done"}
