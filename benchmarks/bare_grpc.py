"""What gRPC and timers alone cost a chunk: the baseline beside `paced_sessions`, with nothing of ours in it.

As many streams of as many bytes, paced by sleeping until each chunk is due. What this machine's timers, sockets and
scheduler add is in it, and nothing else.
"""

import asyncio
import struct
import subprocess
import sys
import time
from typing import Any

import grpc
import uvloop

from benchmarks.speaking import Figures, without_collections

CHUNK_SECONDS = 0.04
CHUNK_BYTES = 1_280
COUNTED_FROM_CHUNKS = 25
_TIMES = struct.Struct("dd")
_METHOD = "/greenroom.benchmarks/Paced"


async def _paced(request_iterator: Any, context: Any) -> None:
    """Write chunks that say when they were due and when they were written."""
    due, filler = time.monotonic(), bytes(CHUNK_BYTES - _TIMES.size)
    for _ in range(int.from_bytes(await anext(aiter(request_iterator)), "little")):
        due += CHUNK_SECONDS
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await context.write(_TIMES.pack(due, time.monotonic()) + filler)


async def _serve() -> None:
    server = grpc.aio.server()
    handler: Any = grpc.stream_stream_rpc_method_handler(_paced)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_METHOD.split("/")[1], {"Paced": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


async def _listen(channel: Any, chunks: int, delay_seconds: float) -> list[tuple[float, float]]:
    """Return each chunk's seconds since it was due, and since it was written."""
    await asyncio.sleep(delay_seconds)
    call = channel.stream_stream(_METHOD)()
    await call.write(chunks.to_bytes(4, "little"))
    costs = []
    while (data := await call.read()) is not grpc.aio.EOF:
        arrived = time.monotonic()
        due, written = _TIMES.unpack_from(data)
        costs.append((arrived - due, arrived - written))
    return costs[COUNTED_FROM_CHUNKS:]


def _started() -> "subprocess.Popen[bytes]":
    """Start the server; its first line is its port."""
    return subprocess.Popen([sys.executable, "-m", "benchmarks.bare_grpc", "serve"], stdout=subprocess.PIPE)


async def measure(sessions: int, seconds: float) -> dict[str, Any]:
    """Run paced streams side by side; return the figures of their chunks."""
    child = _started()
    try:
        assert child.stdout is not None
        address = f"127.0.0.1:{int(child.stdout.readline())}"
        async with grpc.aio.insecure_channel(address) as channel:
            chunks, spread = round(seconds / CHUNK_SECONDS), CHUNK_SECONDS / sessions
            with without_collections():
                heard = await asyncio.gather(*(_listen(channel, chunks, i * spread) for i in range(sessions)))
    finally:
        child.terminate()
        child.wait()
    costs = [cost for each in heard for cost in each]
    return {
        "since_due": Figures.of_seconds([since_due for since_due, _ in costs]).fields(),
        "since_written": Figures.of_seconds([since_written for _, since_written in costs]).fields(),
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        uvloop.run(_serve())
    else:
        print(uvloop.run(measure(50, 10.0)))
