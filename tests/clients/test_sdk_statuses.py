"""gRPC statuses with google.rpc details become typed errors; what is broken or new in them is no crash."""

import grpc
import pytest
from google.rpc import status_pb2

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
from greenroom_client.statuses import DETAILS_KEY, from_rpc_error, from_status
from tests.fakes.fake_speech_script import bad_config, status


class BrokenRpc(grpc.RpcError):
    """An RPC that ended with a code, a text and trailing metadata."""

    def __init__(self, code: grpc.StatusCode, text: str | None, trailing: tuple[tuple[str, bytes], ...] | None) -> None:
        self._code = code
        self._text = text
        self._trailing = trailing

    def code(self) -> grpc.StatusCode:
        """Return the code."""
        return self._code

    def details(self) -> str | None:  # type: ignore[override]  # gRPC's own calls return None as well.
        """Return the text."""
        return self._text

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...] | None:  # type: ignore[override]  # As above.
        """Return the trailing metadata."""
        return self._trailing


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequestError),
        (grpc.StatusCode.NOT_FOUND, NotFoundError),
        (grpc.StatusCode.FAILED_PRECONDITION, PreconditionError),
        (grpc.StatusCode.ALREADY_EXISTS, PreconditionError),
        (grpc.StatusCode.UNAUTHENTICATED, AccessError),
        (grpc.StatusCode.PERMISSION_DENIED, AccessError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, AtCapacityError),
        (grpc.StatusCode.ABORTED, AbortedError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineError),
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.INTERNAL, ServiceFaultError),
        (grpc.StatusCode.DATA_LOSS, ServiceFaultError),
    ],
)
def test_status_of_the_service_becomes_the_error_of_its_code(code: grpc.StatusCode, kind: type[ServiceError]) -> None:
    """Each code that a caller can act upon has its own exception; all others are faults of the service."""
    error = from_status(status(code, "SOME_REASON"))

    assert kind is type(error)
    assert (code.name, "SOME_REASON") == (error.code, error.reason)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, UnreachableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, NoAnswerError),
        (grpc.StatusCode.INTERNAL, ServiceFaultError),
    ],
)
def test_status_of_the_transport_is_told_from_the_service(code: grpc.StatusCode, kind: type[ServiceError]) -> None:
    """Without a reason nobody at the service has spoken: the line is down or silent."""
    error = from_rpc_error(BrokenRpc(code, "wire", None))

    assert kind is type(error)
    assert ("wire", "") == (error.message, error.reason)


def test_details_of_a_status_are_all_carried_over() -> None:
    """Reason, metadata, fields at fault and the advice to retry arrive."""
    answer = status(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "AT_CAPACITY", "full", retry_after_seconds=1.25, field_at_fault="text"
    )

    error = from_rpc_error(
        BrokenRpc(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", ((DETAILS_KEY, answer.SerializeToString()),))
    )

    assert 1.25 == error.retry_after_seconds
    assert {"said_by": "fake"} == error.metadata
    assert (FieldViolation(field="text", description="full"),) == error.violations


def test_details_that_cannot_be_read_leave_code_and_text() -> None:
    """A proxy that spoils the trailing metadata costs the details, nothing else."""
    error = from_rpc_error(BrokenRpc(grpc.StatusCode.NOT_FOUND, "gone", ((DETAILS_KEY, b"\xff\xff\xff"),)))

    assert NotFoundError is type(error)
    assert "gone" == error.message


def test_detail_of_one_kind_that_is_broken_does_not_hide_the_others() -> None:
    """Every readable detail counts."""
    answer = bad_config("seed", "too large")
    answer.details[0].value = b"\xff\xff\xff"

    error = from_status(answer)

    assert "" == error.reason
    assert (FieldViolation(field="seed", description="too large"),) == error.violations


def test_code_that_nobody_knows_is_a_fault_of_the_service() -> None:
    """A status from the future is still an error."""
    error = from_status(status_pb2.Status(code=99, message=""))

    assert (ServiceFaultError, "UNKNOWN", "UNKNOWN") == (type(error), error.code, error.message)
