"""The status that a call really ended with, which grpc.aio hides for a moment when a write fails.

A write to a call that the service has just ended makes grpc.aio set the status to INTERNAL "Internal error from Core";
the service's own status replaces it as soon as it has arrived (seen with grpcio 1.85.1).
"""

import asyncio
from typing import Any

import grpc.aio

from greenroom_client.errors import ServiceError
from greenroom_client.statuses import from_rpc_error

HIDING_DETAILS = "Internal error from Core"
LOOKS = 100
LOOK_SECONDS = 0.002


async def final_error(call: Any, error: grpc.aio.AioRpcError) -> ServiceError:
    """Return the error for the status that a failed call ended with, once it is known."""
    for _ in range(LOOKS):
        if error.details() != HIDING_DETAILS:
            break
        await asyncio.sleep(LOOK_SECONDS)
        error = grpc.aio.AioRpcError(
            await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
        )
    return from_rpc_error(error)
