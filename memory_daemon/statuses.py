"""Errors to gRPC statuses, and back from those of a call that ended. The single mapping."""

import contextlib
from collections.abc import Iterator
from typing import NoReturn, cast

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from memory_daemon.errors import DaemonError, Reason

DOMAIN = "greenroom"

_CODES = {
    Reason.BAD_CONFIG: code_pb2.INVALID_ARGUMENT,
    Reason.ETAG_MISMATCH: code_pb2.ABORTED,
    Reason.MODULE_NOT_FOUND: code_pb2.NOT_FOUND,
    Reason.AT_CAPACITY: code_pb2.RESOURCE_EXHAUSTED,
    Reason.ENGINE_FAULT: code_pb2.INTERNAL,
    Reason.NOTHING_TO_UNDO: code_pb2.FAILED_PRECONDITION,
}

_log = structlog.get_logger(__name__)


@contextlib.contextmanager
def errors_as_statuses(context: grpc.ServicerContext) -> Iterator[None]:
    """End the call with the status of a DaemonError; anything else is our fault, and logged."""
    try:
        yield
    except DaemonError as error:
        _abort(context, error)
    except grpc.RpcError:
        # The caller hung up in the middle of its stream: gRPC knows, and nobody is left to be told.
        raise
    except Exception:  # noqa: BLE001 - This is the edge: whatever goes wrong has to become a status.
        _log.exception("request_failed")
        _abort(context, DaemonError(Reason.ENGINE_FAULT, "the daemon failed; its log says why"))


def status_of(error: DaemonError) -> status_pb2.Status:
    """Return the whole status: code, words, ErrorInfo, and BadRequest and RetryInfo where they apply."""
    details: list[message.Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)]
    if error.violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=wrong.field, description=wrong.description)
                    for wrong in error.violations
                ]
            )
        )
    if error.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(error.retry_after_seconds * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(
        code=_CODES[error.reason], message=error.message, details=[_packed(one) for one in details]
    )


def end_of_call(error: Exception) -> tuple[str, str, str]:
    """Return code (empty for none), reason (empty for none) and words of the error that ended a call."""
    if not isinstance(error, grpc.RpcError):
        return "", "", str(error) or type(error).__name__
    call = cast("grpc.Call", error)  # What a stream raises is the call itself.
    info = error_details_pb2.ErrorInfo()
    try:
        status = rpc_status.from_call(call)
    except ValueError:
        # Details that contradict the code are no details.
        status = None
    for detail in () if status is None else status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
    return call.code().name.lower(), info.reason if info.domain == DOMAIN else "", call.details() or "no details"


def _abort(context: grpc.ServicerContext, error: DaemonError) -> NoReturn:
    context.abort_with_status(rpc_status.to_status(status_of(error)))
    raise AssertionError("abort_with_status always raises")


def _packed(detail: message.Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
