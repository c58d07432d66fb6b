"""How fast an interruption is acknowledged, that nothing follows it, and that work for it stops."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import grpc

from benchmarks.speaking import Figures, Request, config, read_until, text
from greenroom.memory.v1 import residency_pb2 as memory_pb
from greenroom.memory.v1 import residency_pb2_grpc as memory_grpc
from greenroom.tts.v1 import tts_pb2 as pb

SENTENCES = "Here is a sentence that is long enough to be interrupted somewhere in the middle of it. " * 6
STOP_SECONDS_MAX = 10.0
QUIET_SECONDS = 0.1
"""How long after its last lease a step of the interrupted utterance would have begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the service computes: steps under way, utterances with an interest, steps of the voice ever begun."""

    leases: int
    claims: int
    voice_uses: int


async def measure(stub: Any, control_socket: str, count: int) -> dict[str, Any]:
    """Interrupt utterances at different moments; return the figures, and what came or went on too late."""
    acknowledged, stopped, late_chunks, late_steps = [], [], 0, 0
    async with grpc.aio.insecure_channel(control_socket) as channel:
        control: Any = memory_grpc.ResidencyServiceStub(channel)
        call = stub.StreamingSynthesize()
        await call.write(config(pacing=pb.PACING_REALTIME))
        for number in range(count):
            utterance_id = f"u{number}"
            await call.write(text(utterance_id, SENTENCES))
            for _ in range(1 + number % 7):
                await read_until(call, "audio")
            began = time.perf_counter()
            await call.write(Request(cancel=pb.CancelUtterance(utterance_id=utterance_id)))
            await read_until(call, "utterance_cancelled")
            acknowledged.append(time.perf_counter() - began)
            steps, ended_at = await _until_idle(control)
            stopped.append(ended_at - began)
            late_steps += steps
            late_chunks += await _late_chunks(call, utterance_id)
        call.cancel()
    figures = Figures.of_seconds(stopped)
    return {
        **Figures.of_seconds(acknowledged).fields(),
        "chunks_after_the_cancel": late_chunks,
        "steps_after_the_cancel": late_steps,
        "stopped_p50_ms": figures.p50_ms,
        "stopped_max_ms": figures.max_ms,
    }


async def _until_idle(control: Any) -> tuple[int, float]:
    """Wait until nothing is leased or claimed; return how many steps the voice began meanwhile, and when it ended."""
    first = work = await _work(control)
    deadline = time.perf_counter() + STOP_SECONDS_MAX
    while work.leases or work.claims:
        if time.perf_counter() > deadline:
            raise RuntimeError(f"work went on {STOP_SECONDS_MAX:g} s after a cancel: {work}")
        await asyncio.sleep(0.001)
        work = await _work(control)
    ended_at = time.perf_counter()
    await asyncio.sleep(QUIET_SECONDS)
    return (await _work(control)).voice_uses - first.voice_uses, ended_at


async def _work(control: Any) -> Work:
    modules = (await control.GetResidency(memory_pb.GetResidencyRequest())).report.modules
    return Work(
        leases=sum(m.leases for m in modules),
        claims=sum(m.claims for m in modules),
        voice_uses=sum(m.uses for m in modules if m.module == "voice"),
    )


async def _late_chunks(call: Any, utterance_id: str) -> int:
    """Speak a word more, and count what still came of the interrupted utterance."""
    late, after = 0, utterance_id + "-after"
    await call.write(text(after, "Done."))
    await call.write(Request(end_utterance=pb.EndUtterance(utterance_id=after)))
    while True:
        response = await call.read()
        kind = response.WhichOneof("response")
        late += int(kind == "audio" and response.audio.utterance_id == utterance_id)
        if kind == "utterance_done" and response.utterance_done.utterance_id == after:
            return late
