"""The client of sockets: what it says is HTTP/2 that gRPC understands, and what it hears is whole."""

import asyncio
import time
from typing import Any

import grpc
import pytest

from benchmarks.refusals import ended_otherwise, planned_refusals, refused_seconds
from benchmarks.wire_client import Call, Came, PlannedCall, carried_out, lag_seconds

LONG = bytes(range(256)) * 300


async def _echo(request_iterator: Any, context: Any) -> None:
    async for request in request_iterator:
        await context.write(request * 2)


async def _refused(request_iterator: Any, context: Any) -> None:
    del request_iterator
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "there is no room")


async def _calls(method: str, planned: list[PlannedCall]) -> list[Call]:
    server = grpc.aio.server()
    handlers: Any = {
        "Echo": grpc.stream_stream_rpc_method_handler(_echo),
        "Refused": grpc.stream_stream_rpc_method_handler(_refused),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tests", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        address = f"127.0.0.1:{port}"
        return await asyncio.to_thread(carried_out, address, f"/tests/{method}", planned, most_seconds=10.0)
    finally:
        await server.stop(None)


async def test_calls_on_shared_and_own_lines_hear_their_own_answers() -> None:
    """Messages longer than a frame come whole, each call its own, and each ends."""
    planned = [
        PlannedCall(at_seconds=0.002 * each, connection=each % 2, messages=(bytes([each]), LONG)) for each in range(6)
    ]
    calls = await _calls("Echo", planned)

    assert [[bytes([each, each]), LONG * 2] for each in range(6)] == [
        [came.data for came in call.messages] for call in calls
    ]
    assert all(call.end is not None for call in calls)


async def test_arrivals_lie_between_the_call_and_its_reading() -> None:
    """The kernel's stamps are on the clock that everything else is measured by."""
    before = time.monotonic()
    (call,) = await _calls("Echo", [PlannedCall(at_seconds=0.0, connection=0, messages=(b"x",))])
    after = time.monotonic()
    (came,) = call.messages

    assert before <= call.sent_at <= came.arrived_at + 0.001
    assert came.arrived_at <= came.read_at <= after
    assert all(seconds >= 0.0 for seconds in lag_seconds([call]))


async def test_refusal_is_an_end_without_a_message() -> None:
    """Its headers hold the words of the status."""
    calls = await _calls("Refused", [PlannedCall(at_seconds=0.0, connection=0, messages=(b"x",))])
    (end,) = [call.end for call in calls]

    assert end is not None
    assert b"there is no room" in end.data
    assert (1, 0) == (len(refused_seconds(calls)), ended_otherwise(calls))


@pytest.mark.parametrize(
    ("messages", "end", "refused", "otherwise"),
    [
        pytest.param([], b"grpc-status\x018", [0.5], 0, id="full"),
        pytest.param([Came(data=b"", arrived_at=1.0, read_at=1.0)], b"grpc-status\x018", [], 0, id="waited in vain"),
        pytest.param([], b"grpc-status\x0214", [], 1, id="unavailable"),
        pytest.param([], b"grpc-status\x010", [], 1, id="ended well, without a word"),
        pytest.param([], b"", [], 1, id="reset"),
    ],
)
def test_only_who_is_told_at_once_that_it_is_full_was_refused(
    messages: list[Came], end: bytes, refused: list[float], otherwise: int
) -> None:
    """Who waits in the queue is told so, who is let in hears of the session, and who meets a fault hears of that."""
    call = Call(due_at=0.0, sent_at=1.0, messages=messages, end=Came(data=end, arrived_at=1.5, read_at=2.0))

    assert (refused, otherwise) == (refused_seconds([call]), ended_otherwise([call]))


def test_planned_refusals_keep_to_their_time_and_lines() -> None:
    """They come at random within it, on lines of their own."""
    planned = planned_refusals((b"x",), rate_per_second=100.0, from_seconds=1.0, until_seconds=3.0, first_line=5)

    assert all(1.0 < each.at_seconds < 3.0 for each in planned)
    assert set(range(5, 13)) == {each.connection for each in planned}
