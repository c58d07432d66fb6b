"""From an error to a gRPC status: the one table of reasons and codes, for both servers.

A `GreenroomError` crosses the wire as it was written; any other exception becomes ENGINE_FAULT without a word of what
it was, and goes to the log instead.
"""

from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tts_service.errors import GreenroomError, Reason, ServiceError

_log = structlog.get_logger(__name__)

DOMAIN = "greenroom"

CODES = {
    Reason.BAD_CONFIG: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.TEXT_TOO_LONG: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.BAD_LANGUAGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.BAD_AUDIO: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.CONFIG_NOT_FIRST: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.GOVERNED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.RESIDENCY_OFF: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.VOICE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.MODULE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.AT_CAPACITY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DEVICE_MEMORY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Reason.ENGINE_STARTING: grpc.StatusCode.UNAVAILABLE,
    Reason.ENGINE_RESTARTING: grpc.StatusCode.UNAVAILABLE,
    Reason.ETAG_MISMATCH: grpc.StatusCode.ABORTED,
    Reason.SUPERSEDED: grpc.StatusCode.ABORTED,
    Reason.IDLE_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.QUEUE_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.ENGINE_FAULT: grpc.StatusCode.INTERNAL,
}

RETRY_SECONDS = 1.0
"""When to try again where the error does not say."""

MESSAGE_MAXIMUM_BYTES = 512
DETAIL_MAXIMUM_BYTES = 160
DETAILS_MAXIMUM = 8
"""A status travels twice in the trailers, percent-encoded and in base64, and peers refuse trailers over 8 KiB."""

_RETRIED = frozenset(
    {
        Reason.AT_CAPACITY,
        Reason.DEVICE_MEMORY,
        Reason.DRAINING,
        Reason.ENGINE_STARTING,
        Reason.ENGINE_RESTARTING,
    }
)


def to_status(error: Exception) -> status_pb2.Status:
    """Return the status of an error, with ErrorInfo, and BadRequest and RetryInfo where they apply."""
    known = error if isinstance(error, GreenroomError) else _unknown_fault()
    details = [_error_info(known), *_bad_request(known), *_retry_info(known)]
    return status_pb2.Status(
        code=CODES[known.reason].value[0],
        message=_clip(known.message, MESSAGE_MAXIMUM_BYTES),
        details=[_packed(detail) for detail in details],
    )


def abort(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    """End a call of the synchronous server with the status of an error."""
    _log_unknown(error)
    context.abort_with_status(rpc_status.to_status(to_status(error)))
    raise AssertionError("abort_with_status always raises")


async def abort_async(context: "grpc.aio.ServicerContext[Any, Any]", error: Exception) -> NoReturn:
    """End a call of the asyncio server with the status of an error."""
    _log_unknown(error)
    await context.abort_with_status(rpc_status.to_status(to_status(error)))
    raise AssertionError("abort_with_status always raises")


def _unknown_fault() -> ServiceError:
    return ServiceError(Reason.ENGINE_FAULT, "the service failed; its log says more")


def _log_unknown(error: Exception) -> None:
    if not isinstance(error, GreenroomError):
        _log.error("call_failed", exc_info=error)


def _error_info(error: GreenroomError) -> error_details_pb2.ErrorInfo:
    entries = list(error.metadata.items())[:DETAILS_MAXIMUM]
    metadata = {key: _clip(value, DETAIL_MAXIMUM_BYTES) for key, value in entries}
    return error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=metadata)


def _bad_request(error: GreenroomError) -> list[Message]:
    violations = [
        error_details_pb2.BadRequest.FieldViolation(
            field=_clip(violation.field, DETAIL_MAXIMUM_BYTES),
            description=_clip(violation.description, DETAIL_MAXIMUM_BYTES),
        )
        for violation in error.violations[:DETAILS_MAXIMUM]
    ]
    return [error_details_pb2.BadRequest(field_violations=violations)] if violations else []


def _retry_info(error: GreenroomError) -> list[Message]:
    seconds = error.retry_after_seconds
    if seconds is None and error.reason in _RETRIED:
        seconds = RETRY_SECONDS
    if seconds is None:
        return []
    delay = duration_pb2.Duration()
    delay.FromNanoseconds(round(seconds * 1e9))
    return [error_details_pb2.RetryInfo(retry_delay=delay)]


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _clip(text: str, maximum_bytes: int) -> str:
    """Cut text to a number of UTF-8 bytes, at a character; what UTF-8 cannot hold becomes a question mark."""
    return text.encode("utf-8", "replace")[:maximum_bytes].decode("utf-8", "ignore")
