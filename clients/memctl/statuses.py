"""gRPC statuses turned into what an operator should read."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from memctl.errors import MemctlError, RefusedError, UnreachableError, Violation
from memctl.sockets import Fault, fault_of
from memctl.wire_fields import seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Whom we talk to: `memory daemon` or `service`, and where."""

    name: str
    path: Path


def error_of(error: grpc.RpcError, peer: Peer) -> MemctlError:
    """Return a refusal if the peer said no, else why it could not be reached."""
    call = cast("grpc.Call", error)  # Every error that a call raises is one; the stubs cannot say so.
    status = _rich_status(call)
    if status is not None and status.details:
        return _refusal(status, call.code())
    match call.code():
        case grpc.StatusCode.UNAVAILABLE:
            return UnreachableError(peer.name, peer.path, fault_of(peer.path))
        case grpc.StatusCode.CANCELLED:
            # Only we cancel, and only where nothing came.
            return UnreachableError(peer.name, peer.path, Fault.SILENT)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            fault = fault_of(peer.path)
            return UnreachableError(peer.name, peer.path, Fault.SILENT if fault is Fault.LOST else fault)
        case grpc.StatusCode.UNIMPLEMENTED:
            return _unknown_call(peer)
        case code:
            return RefusedError(f"The {peer.name} answered: {call.details() or code.name}", reason=code.name)


def _rich_status(error: grpc.Call) -> status_pb2.Status | None:
    """Return the google.rpc.Status of an error; None if it carries none that can be read."""
    try:
        return rpc_status.from_call(error)
    except (ValueError, DecodeError):
        return None


def _refusal(status: status_pb2.Status, code: grpc.StatusCode) -> RefusedError:
    info = error_details_pb2.ErrorInfo()
    fields = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        for known in (info, fields, retry):
            if detail.Is(known.DESCRIPTOR):
                detail.Unpack(known)
    return RefusedError(
        status.message,
        reason=info.reason or code.name,
        violations=tuple(Violation(field=one.field, description=one.description) for one in fields.field_violations),
        metadata=dict(info.metadata),
        retry_after_seconds=seconds(retry.retry_delay) if retry.HasField("retry_delay") else None,
    )


def _unknown_call(peer: Peer) -> RefusedError:
    return RefusedError(
        f"The {peer.name} at {peer.path} does not know this call.",
        reason="UNIMPLEMENTED",
        way_out="It is of another version, or it is something else: compare `memctl --version` with it.",
    )
