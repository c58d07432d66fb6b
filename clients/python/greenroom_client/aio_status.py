"""The status that a call really ended with, which grpc.aio may hide.

A write to a call that the service has just ended makes grpc.aio set the call's status to INTERNAL "Internal error from
Core": before the service's own status arrives, or after it, and then for good (seen with grpcio 1.85.1). Whoever
writes while the other side may end would be told of a fault that never was, and not of the reason.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc.aio

from greenroom_client.errors import ServiceError
from greenroom_client.statuses import from_rpc_error

HIDING_DETAILS = "Internal error from Core"
LOOKS = 250
LOOK_SECONDS = 0.002
"""Half a second in all for the service's own status after a write has failed; it is on its way already."""

T = TypeVar("T")


class CallStatus:
    """Remembers the service's own status of one call. Watches from the beginning, because it may be gone later."""

    def __init__(self) -> None:
        self._own: grpc.aio.AioRpcError | None = None
        self._call: Any = None

    def watch(self, call: Any) -> None:
        """Look at the first status that the call is given."""
        self._call = call
        call.add_done_callback(self._look)

    def _look(self, call: Any) -> None:
        code, details = _ready(call.code()), _ready(call.details())
        if self._own is None and details != HIDING_DETAILS:
            self._own = grpc.aio.AioRpcError(
                code, _ready(call.initial_metadata()), _ready(call.trailing_metadata()), details
            )

    async def error(self, seen: grpc.aio.AioRpcError) -> ServiceError:
        """Return the error that a call ended with, given the one that was seen."""
        # Nothing tells when the second status replaces the first, so it is looked for.
        for _ in range(LOOKS):
            if self._own is not None or seen.details() != HIDING_DETAILS:
                break
            await asyncio.sleep(LOOK_SECONDS)
            self._look(self._call)
        return from_rpc_error(self._own or seen)

    def __repr__(self) -> str:
        return f"<CallStatus {'unknown' if self._own is None else self._own.code().name}>"


def _ready(answer: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that waits for nothing, as a call's are once it has a status."""
    try:
        answer.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    answer.close()
    raise AssertionError("a call that is over tells its status at once")
