"""What gRPC and timers alone cost a chunk: the baseline beside `paced_sessions`, with nothing of ours in it.

As many streams of as many bytes, paced by sleeping until each chunk is due, and calls that are refused unseen. What
this machine's timers, sockets and scheduler add is in it, and nothing else. It is heard by the same client.
"""

import asyncio
import contextlib
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import grpc
import uvloop

from benchmarks.speaking import Figures
from benchmarks.wire_client import PlannedCall, carried_out_elsewhere, lag_seconds

CHUNK_SECONDS = 0.04
CHUNK_BYTES = 1_280
COUNTED_FROM_CHUNKS = 25
END_SECONDS = 5.0
_TIMES = struct.Struct("dd")
PACED = "/greenroom.benchmarks/Paced"
REFUSED = "/greenroom.benchmarks/Refused"


async def _paced(request_iterator: Any, context: Any) -> None:
    """Write chunks that say when they were due and when they were written."""
    due, filler = time.monotonic(), bytes(CHUNK_BYTES - _TIMES.size)
    for _ in range(int.from_bytes(await anext(aiter(request_iterator)), "little")):
        due += CHUNK_SECONDS
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await context.write(_TIMES.pack(due, time.monotonic()) + filler)


async def _refused(request_iterator: Any, context: Any) -> None:
    """Refuse a call without looking at it."""
    del request_iterator
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")


async def _serve() -> None:
    server = grpc.aio.server()
    handlers: Any = {
        "Paced": grpc.stream_stream_rpc_method_handler(_paced),
        "Refused": grpc.stream_stream_rpc_method_handler(_refused),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(PACED.split("/")[1], handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


@contextlib.contextmanager
def bare_server() -> Iterator[str]:
    """Serve in another process; give the address."""
    child = subprocess.Popen([sys.executable, "-m", "benchmarks.bare_grpc", "serve"], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        yield f"127.0.0.1:{int(child.stdout.readline())}"
    finally:
        child.terminate()
        child.wait()


async def measure(sessions: int, seconds: float) -> dict[str, Any]:
    """Run paced streams side by side; return the figures of their chunks."""
    count = round(seconds / CHUNK_SECONDS).to_bytes(4, "little")
    spread = CHUNK_SECONDS / sessions
    planned = [PlannedCall(at_seconds=each * spread, connection=each, messages=(count,)) for each in range(sessions)]
    with bare_server() as address:
        calls = await asyncio.to_thread(
            carried_out_elsewhere, address, PACED, planned, most_seconds=seconds + END_SECONDS
        )
    came = [
        (each.arrived_at, *_TIMES.unpack_from(each.data))
        for call in calls
        for each in call.messages[COUNTED_FROM_CHUNKS:]
    ]
    return {
        "since_due": Figures.of_seconds([arrived - due for arrived, due, _ in came]).fields(),
        "since_written": Figures.of_seconds([arrived - written for arrived, _, written in came]).fields(),
        "client_lag": Figures.of_seconds(lag_seconds(calls)).fields(),
        "load_average": os.getloadavg()[0],
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        uvloop.run(_serve())
    else:
        print(json.dumps(uvloop.run(measure(50, 10.0)), indent=2))
