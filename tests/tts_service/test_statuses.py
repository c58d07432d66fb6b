"""From an error to what a client sees, for both servers."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from structlog.testing import capture_logs

from tts_service.api import statuses
from tts_service.errors import CallerError, FieldViolation, Reason, ServiceError, StartupError, bad_config

TABLE = [
    (Reason.BAD_CONFIG, grpc.StatusCode.INVALID_ARGUMENT),
    (Reason.TEXT_TOO_LONG, grpc.StatusCode.INVALID_ARGUMENT),
    (Reason.BAD_LANGUAGE, grpc.StatusCode.INVALID_ARGUMENT),
    (Reason.BAD_AUDIO, grpc.StatusCode.INVALID_ARGUMENT),
    (Reason.CONFIG_NOT_FIRST, grpc.StatusCode.FAILED_PRECONDITION),
    (Reason.GOVERNED, grpc.StatusCode.FAILED_PRECONDITION),
    (Reason.RESIDENCY_OFF, grpc.StatusCode.FAILED_PRECONDITION),
    (Reason.VOICE_NOT_FOUND, grpc.StatusCode.NOT_FOUND),
    (Reason.MODULE_NOT_FOUND, grpc.StatusCode.NOT_FOUND),
    (Reason.AT_CAPACITY, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Reason.DEVICE_MEMORY, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Reason.DRAINING, grpc.StatusCode.UNAVAILABLE),
    (Reason.ENGINE_STARTING, grpc.StatusCode.UNAVAILABLE),
    (Reason.ENGINE_RESTARTING, grpc.StatusCode.UNAVAILABLE),
    (Reason.ETAG_MISMATCH, grpc.StatusCode.ABORTED),
    (Reason.SUPERSEDED, grpc.StatusCode.ABORTED),
    (Reason.IDLE_TIMEOUT, grpc.StatusCode.DEADLINE_EXCEEDED),
    (Reason.QUEUE_TIMEOUT, grpc.StatusCode.DEADLINE_EXCEEDED),
    (Reason.ENGINE_FAULT, grpc.StatusCode.INTERNAL),
]

WORST = CallerError(
    Reason.BAD_CONFIG,
    "ü" * 10_000,
    violations=(FieldViolation(field="ü" * 1_000, description="漢" * 1_000),) * 1_000,
    metadata={f"key{number}": "ü" * 1_000 for number in range(100)},
    retry_after_seconds=1.0,
)


def detail(status: status_pb2.Status, kind: type[Any]) -> Any:
    """Return the one detail of a kind."""
    (found,) = [packed for packed in status.details if packed.Is(kind.DESCRIPTOR)]
    message = kind()
    assert found.Unpack(message)
    return message


def kinds(status: status_pb2.Status) -> list[str]:
    """Return which details a status has."""
    return [packed.TypeName().removeprefix("google.rpc.") for packed in status.details]


@pytest.mark.parametrize(("reason", "code"), TABLE)
def test_reason_has_its_code(reason: Reason, code: grpc.StatusCode) -> None:
    """Each reason travels under the code of the table, in the domain of this project."""
    status = statuses.to_status(CallerError(reason, "words"))
    info = detail(status, error_details_pb2.ErrorInfo)

    assert (code.value[0], "words", reason.value, "greenroom") == (
        status.code,
        status.message,
        info.reason,
        info.domain,
    )


def test_every_reason_is_in_the_table() -> None:
    """No reason is without a code, and none without a test."""
    assert set(Reason) == set(statuses.CODES) == {reason for reason, _ in TABLE}


def test_field_at_fault_travels_as_bad_request() -> None:
    """A client sees which field is wrong and how."""
    status = statuses.to_status(bad_config("config.rate", "must be 8000 to 48000"))
    (violation,) = detail(status, error_details_pb2.BadRequest).field_violations

    assert ("config.rate", "must be 8000 to 48000") == (violation.field, violation.description)


def test_metadata_travels_in_error_info() -> None:
    """The values of a message can be read without parsing words."""
    status = statuses.to_status(CallerError(Reason.GOVERNED, "words", metadata={"holder": "daemon-1"}))

    assert {"holder": "daemon-1"} == dict(detail(status, error_details_pb2.ErrorInfo).metadata)


@pytest.mark.parametrize(
    ("error", "nanoseconds"),
    [
        (ServiceError(Reason.AT_CAPACITY, "full", retry_after_seconds=2.5), 2_500_000_000),
        (ServiceError(Reason.AT_CAPACITY, "full"), 1_000_000_000),
        (ServiceError(Reason.DEVICE_MEMORY, "full"), 1_000_000_000),
        (ServiceError(Reason.DRAINING, "going"), 1_000_000_000),
        (CallerError(Reason.GOVERNED, "held", retry_after_seconds=0.25), 250_000_000),
    ],
)
def test_retry_delay_is_told_where_a_retry_makes_sense(error: Exception, nanoseconds: int) -> None:
    """A client learns when to come again."""
    delay = detail(statuses.to_status(error), error_details_pb2.RetryInfo).retry_delay

    assert nanoseconds == delay.ToNanoseconds()


@pytest.mark.parametrize("reason", [Reason.BAD_CONFIG, Reason.GOVERNED, Reason.SUPERSEDED, Reason.ENGINE_FAULT])
def test_no_retry_delay_where_a_retry_makes_no_sense(reason: Reason) -> None:
    """What stays wrong is not to be tried again."""
    assert ["ErrorInfo"] == kinds(statuses.to_status(CallerError(reason, "words")))


@pytest.mark.parametrize(
    "error", [RuntimeError("/secret/path"), StartupError("/secret/path"), KeyError("/secret/path")]
)
def test_unknown_exception_becomes_engine_fault_without_its_words(error: Exception) -> None:
    """What went wrong inside does not leave the service."""
    status = statuses.to_status(error)

    assert (grpc.StatusCode.INTERNAL.value[0], "ENGINE_FAULT", False) == (
        status.code,
        detail(status, error_details_pb2.ErrorInfo).reason,
        "secret" in str(status),
    )


def test_text_that_is_no_utf8_is_told_with_a_question_mark() -> None:
    """A lone surrogate, as file names can have, does not break the status itself."""
    assert "a?b" == statuses.to_status(CallerError(Reason.BAD_CONFIG, "a\udc80b")).message


def test_long_words_are_cut_at_a_character() -> None:
    """A status is bounded, and cut where UTF-8 allows it."""
    status = statuses.to_status(WORST)

    assert (256, 8) == (
        len(status.message),
        len(detail(status, error_details_pb2.BadRequest).field_violations),
    )


class _Service(grpc.GenericRpcHandler):
    """Answers every call of the synchronous server with one error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        """Handle whatever is called."""
        del handler_call_details
        return grpc.unary_unary_rpc_method_handler(self._fail)

    def _fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        del request
        statuses.abort(context, self._error)


class _AsyncService(grpc.GenericRpcHandler):
    """Answers every call of the asyncio server with one error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        """Handle whatever is called."""
        del handler_call_details
        return grpc.unary_unary_rpc_method_handler(self._fail)

    async def _fail(self, request: bytes, context: Any) -> bytes:
        del request
        await statuses.abort_async(context, self._error)


@contextmanager
def served(error: Exception) -> Iterator[str]:
    """Serve an error on a socket and give its address."""
    with tempfile.TemporaryDirectory(prefix="greenroom") as folder, ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((_Service(error),))
        address = f"unix:{Path(folder) / 's'}"
        server.add_insecure_port(address)
        server.start()
        yield address
        server.stop(None).wait()


@pytest.mark.parametrize("error", [CallerError(Reason.GOVERNED, "held"), WORST, RuntimeError("secret")])
def test_abort_on_the_synchronous_server_arrives_whole(error: Exception) -> None:
    """A client of the synchronous server gets the very status, even the longest."""
    with served(error) as address, grpc.insecure_channel(address) as channel:
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary("/any/Call")(b"", timeout=10)

        assert statuses.to_status(error) == rpc_status.from_call(failed.value)


@pytest.mark.parametrize("error", [CallerError(Reason.GOVERNED, "held"), WORST, RuntimeError("secret")])
async def test_abort_on_the_asyncio_server_arrives_whole(error: Exception) -> None:
    """A client of the asyncio server gets the very status, even the longest."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_AsyncService(error),))
    with tempfile.TemporaryDirectory(prefix="greenroom") as folder:
        address = f"unix:{Path(folder) / 's'}"
        server.add_insecure_port(address)
        await server.start()
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary("/any/Call")(b"", timeout=10)
        await server.stop(None)

    assert statuses.to_status(error) == rpc_status.from_call(failed.value)


@pytest.mark.parametrize(("error", "events"), [(RuntimeError("secret"), ["call_failed"]), (WORST, [])])
def test_only_what_is_hidden_from_the_client_goes_to_the_log(error: Exception, events: list[str]) -> None:
    """A fault of ours is logged with its cause; a caller's is not."""
    with capture_logs() as logs, served(error) as address, grpc.insecure_channel(address) as channel:
        with pytest.raises(grpc.RpcError):
            channel.unary_unary("/any/Call")(b"", timeout=10)

        assert events == [entry["event"] for entry in logs]
