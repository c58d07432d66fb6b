"""gRPC statuses, with google.rpc details, as this package's errors. The only place that reads details."""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from greenroom_client.errors import (
    AbortedError,
    AccessError,
    AtCapacityError,
    DeadlineError,
    FieldViolation,
    InvalidRequestError,
    NoAnswerError,
    NotFoundError,
    PreconditionError,
    ServiceError,
    ServiceFaultError,
    UnavailableError,
    UnreachableError,
)

DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata that holds a google.rpc.Status (gRPC's richer error model)."""

KINDS: Mapping[grpc.StatusCode, type[ServiceError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: PreconditionError,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionError,
    grpc.StatusCode.UNAUTHENTICATED: AccessError,
    grpc.StatusCode.PERMISSION_DENIED: AccessError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: AtCapacityError,
    grpc.StatusCode.ABORTED: AbortedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
}
"""Codes that a caller can act upon; every other code is a fault of the service."""

_CODES = {code.value[0]: code for code in grpc.StatusCode}


def from_rpc_error(error: grpc.RpcError) -> ServiceError:
    """Return the error for a failed RPC, of either API of grpc."""
    code, text = error.code(), error.details() or ""
    # A tuple of named pairs in one API of grpc, a multi-dictionary in the other; both give pairs.
    trailing: Iterable[Any] = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == DETAILS_KEY:
            return from_status(_parsed(value, code, text))
    return from_status(status_pb2.Status(code=code.value[0], message=text))


def from_status(status: status_pb2.Status) -> ServiceError:
    """Return the error for a google.rpc.Status; details that this client does not know are left out."""
    info, retry, fields = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    retry_after_seconds: float | None = None
    for detail in status.details:
        _unpack(detail, info)
        _unpack(detail, fields)
        if _unpack(detail, retry):
            retry_after_seconds = retry.retry_delay.ToNanoseconds() / 1e9
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return _kind(code, reason=info.reason)(
        status.message or code.name,
        code=code.name,
        reason=info.reason,
        violations=tuple(FieldViolation(field=f.field, description=f.description) for f in fields.field_violations),
        metadata=info.metadata,
        retry_after_seconds=retry_after_seconds,
    )


def _kind(code: grpc.StatusCode, *, reason: str) -> type[ServiceError]:
    """Return the kind of error; the service gives a reason for everything, the transport for nothing."""
    if code is grpc.StatusCode.UNAVAILABLE and not reason:
        return UnreachableError
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and not reason:
        return NoAnswerError
    return KINDS.get(code, ServiceFaultError)


def _unpack(detail: any_pb2.Any, into: Message) -> bool:
    """Unpack a detail if it is of that kind and readable."""
    try:
        return detail.Unpack(into)
    except DecodeError:
        return False


def _parsed(raw: bytes, code: grpc.StatusCode, text: str) -> status_pb2.Status:
    """Return the status in the trailing metadata, or what the transport says if a proxy has spoilt it."""
    try:
        return status_pb2.Status.FromString(raw)
    except DecodeError:
        return status_pb2.Status(code=code.value[0], message=text)
