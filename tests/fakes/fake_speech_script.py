"""What a fake speech service is told to do wrong or slowly, and the statuses that it answers with."""

from collections import deque
from dataclasses import dataclass, field

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "greenroom"


@dataclass(slots=True, kw_only=True)
class Script:
    """Directions for a fake service. The default speaks well and at once."""

    refusals: deque[status_pb2.Status] = field(default_factory=deque)
    """Each RPC that begins takes the next one as its answer."""
    silent: frozenset[str] = frozenset()
    """What is never answered: "session", "synthesize", "cancel", "text", "GetVoice", ..."""
    first_audio_delay_seconds: float = 0.0
    chunk_delay_seconds: float = 0.0
    fail_utterance_after_chunks: int | None = None
    end_session_after_chunks: int | None = None
    end_session_with: status_pb2.Status | None = None
    """None ends it with OK."""
    lose_chunk: int | None = None
    """Skip the chunk of this number, so that a gap appears."""
    draining_after_start: float | None = None
    speak_of_the_future: bool = False
    """Send an answer of a kind that no client knows yet."""
    voice_pages_repeat: bool = False
    detect_fails_after_bytes: int | None = None
    utterance_text_bytes: int = 64 * 1024
    waiting_utterances: int = 16
    waiting_flushes: int = 64


def status(
    code: grpc.StatusCode,
    reason: str,
    message: str = "as scripted",
    *,
    retry_after_seconds: float | None = None,
    field_at_fault: str = "",
) -> status_pb2.Status:
    """Return a google.rpc.Status with the details that the real service sends."""
    result = status_pb2.Status(code=code.value[0], message=message)
    result.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata={"said_by": "fake"}))
    if field_at_fault:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field_at_fault, description=message)
        result.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if retry_after_seconds is not None:
        delay = Duration()
        delay.FromNanoseconds(round(retry_after_seconds * 1e9))
        result.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return result


def unavailable(*, retry_after_seconds: float) -> status_pb2.Status:
    """Return what a draining service answers."""
    return status(grpc.StatusCode.UNAVAILABLE, "DRAINING", retry_after_seconds=retry_after_seconds)


def at_capacity(*, retry_after_seconds: float) -> status_pb2.Status:
    """Return what a full service answers."""
    return status(grpc.StatusCode.RESOURCE_EXHAUSTED, "AT_CAPACITY", retry_after_seconds=retry_after_seconds)


def bad_config(field_at_fault: str, message: str) -> status_pb2.Status:
    """Return what a malformed field gets."""
    return status(grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONFIG", message, field_at_fault=field_at_fault)
