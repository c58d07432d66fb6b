"""What gRPC, pacing and encoding cost a chunk: paced sessions of prepared audio, without any model.

The server is a process of its own: the shipped speech servicer and session shell over a renderer that hands out
prepared 40 ms pieces, resampled and coded in a worker thread like real ones. The client stamps bytes and reads them
afterwards, so that its own work counts as little as can be.

A chunk's cost is the time from the moment at which it is due to its arrival at the client, on the machine's common
monotonic clock. It is due when pacing lets it leave (the outbox's own answer, asked for when the chunk became the next
item), so that whatever made it late counts, however late it is. The service may let a chunk go up to two milliseconds
before that, because timers are coarse; then it is due when it went. What timers and gRPC take alone, on the same
machine in the same minute, is measured by `bare_grpc`. Every chunk after the first second of each session's audio
counts.
"""

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import psutil
import uvloop

from benchmarks.speaking import Figures, config, end, text, without_collections
from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc as pb_grpc
from tts_service.api import responses
from tts_service.api.requests import client_message, config_request
from tts_service.api.session_shell import SessionShell
from tts_service.server import OPTIONS
from tts_service.speech import protocol
from tts_service.speech.encoded_audio import AudioEncoder
from tts_service.speech.rendering import (
    AudioFinished,
    AudioMade,
    DiscardAudio,
    FinishAudio,
    Order,
    RenderEvent,
    RenderSegment,
    SegmentMade,
)
from tts_service.speech.session import Session
from tts_service.speech.session_config import Defaults, ModelFacts, Offer, VoiceFacts
from tts_service.speech.session_limits import SessionLimits
from tts_service.speech.utterance import Outgoing
from tts_service.types import EncodedPiece

CHUNK_SECONDS = 0.04
SAMPLE_RATE_HERTZ = 16_000
COUNTED_FROM_SECONDS = 1.0
"""Before that a session builds up its lead."""

PIECE = np.sin(np.arange(960, dtype=np.float32) * 0.1) * np.float32(0.3)
BLOCK_PIECES, BLOCKS_PER_SEGMENT = 5, 5
"""Blocks are of the size that the watermark brings at once, about; a segment is a second."""

AHEAD_SECONDS = 0.5
OFFER = Offer(
    models=(
        ModelFacts(
            id="prepared",
            description="",
            languages=("en",),
            sample_rate_hertz=24_000,
            default_voice="sine",
            changes_speaking_rate=False,
        ),
    ),
    voices={
        "sine": VoiceFacts(id="sine", display_name="", languages=("en",), models=("prepared",), description=""),
    },
)


class PreparedRenderer:
    """Hands out a second of coded pieces for each segment, twice as fast as they are played."""

    def __init__(self, emit: Callable[[Any], None], executor: ThreadPoolExecutor) -> None:
        self._emit = emit
        self._executor = executor
        self._orders: asyncio.Queue[RenderSegment | FinishAudio] = asyncio.Queue()
        self._encoders: dict[str, AudioEncoder] = {}
        self._samples = 0

    def submit(self, order: Order) -> None:
        """Take an order."""
        if not isinstance(order, DiscardAudio):
            self._orders.put_nowait(order)

    async def run(self) -> None:
        """Carry out orders until cancelled."""
        while True:
            order = await self._orders.get()
            encoder = self._encoders.setdefault(order.utterance_id, AudioEncoder(order.config.audio_format))
            if isinstance(order, RenderSegment):
                await self._segment(order, encoder)
            else:
                piece = encoder.finish()
                self._emit(AudioFinished(utterance_id=order.utterance_id, piece=piece, compute_seconds=0.0))

    async def _segment(self, order: RenderSegment, encoder: AudioEncoder) -> None:
        start, loop = self._samples, asyncio.get_running_loop()
        for _ in range(BLOCKS_PER_SEGMENT):
            for piece in await loop.run_in_executor(self._executor, _block, encoder):
                self._samples += piece.sample_count
                self._emit(AudioMade(utterance_id=order.utterance_id, piece=piece))
            await asyncio.sleep(BLOCK_PIECES * CHUNK_SECONDS / 2)
        self._emit(
            SegmentMade(
                utterance_id=order.utterance_id,
                segment=order.segment,
                sample_start=start,
                sample_end=self._samples,
                compute_seconds=0.0,
            )
        )


def _block(encoder: AudioEncoder) -> list[EncodedPiece]:
    return [encoder.write(PIECE) for _ in range(BLOCK_PIECES)]


class TimedShell(SessionShell):
    """Notes when each chunk was due and when it was written, by its offset."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.due_at: dict[int, tuple[float, float]] = {}
        self._next_item: Outgoing | None = None
        self._next_due_at = 0.0

    def _rendered(self, event: RenderEvent) -> None:
        super()._rendered(event)
        self._look_at_next()

    async def _write_one(self, message: protocol.ServerMessage) -> None:
        if isinstance(message, protocol.AudioChunk):
            written_at = self._clock()
            self.due_at[message.sample_offset] = (min(self._next_due_at, written_at), written_at)
        self._look_at_next()
        await super()._write_one(message)

    def _look_at_next(self) -> None:
        """Note when the next item is due, if it has just become the next one."""
        current = next(iter(self.session.utterances.open), None)
        if current is None or not current.outgoing:
            self._next_item = None
        elif current.outgoing[0] is not self._next_item:
            self._next_item = current.outgoing[0]
            self._next_due_at = self.session.outbox.piece_at(current, self._clock())


class PreparedService:
    """StreamingSynthesize as it is shipped, over prepared audio."""

    def __init__(self) -> None:
        self.due_at: list[dict[int, tuple[float, float]]] = []
        self._executor = ThreadPoolExecutor(1)

    async def streaming_synthesize(self, request_iterator: Any, context: Any) -> None:
        """Serve a session."""
        first = await anext(aiter(request_iterator))
        limits = responses.wire_limits(SessionLimits(), sessions=1, detect_seconds=1, detect_bytes=1)
        session_id = str(len(self.due_at))
        request = config_request(first.config, streaming=True)
        session = Session(request, OFFER, Defaults(seed=1), SessionLimits(), now=time.monotonic())

        async def write(message: protocol.ServerMessage) -> None:
            await context.write(responses.session_response(message, session_id=session_id, limits=limits))

        async def messages() -> Any:
            async for request in request_iterator:
                yield client_message(request)

        shell = TimedShell(session, lambda emit: PreparedRenderer(emit, self._executor), write, time.monotonic)
        self.due_at.append(shell.due_at)
        await shell.run(messages())

    async def get_service_info(self, request: Any, context: Any) -> pb.GetServiceInfoResponse:
        """Hand over when all chunks were due, because the benchmark is over."""
        del request, context
        return pb.GetServiceInfoResponse(version=json.dumps(self.due_at))

    def handler(self) -> Any:
        """Return what a server needs to serve these two methods of the speech API."""
        speaks = grpc.stream_stream_rpc_method_handler(
            self.streaming_synthesize,
            request_deserializer=pb.StreamingSynthesizeRequest.FromString,
            response_serializer=pb.StreamingSynthesizeResponse.SerializeToString,
        )
        tells = grpc.unary_unary_rpc_method_handler(
            self.get_service_info,
            request_deserializer=pb.GetServiceInfoRequest.FromString,
            response_serializer=pb.GetServiceInfoResponse.SerializeToString,
        )
        name = pb.DESCRIPTOR.services_by_name["TextToSpeechService"].full_name
        return grpc.method_handlers_generic_handler(name, {"StreamingSynthesize": speaks, "GetServiceInfo": tells})


async def _serve() -> None:
    gc.freeze()  # As the service does.
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((PreparedService().handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


async def _one(channel: Any, seconds: float, delay_seconds: float) -> list[tuple[bytes, float]]:
    """Listen to one session; return its messages as they came, each with its arrival."""
    await asyncio.sleep(delay_seconds)
    name = pb.DESCRIPTOR.services_by_name["TextToSpeechService"].full_name
    call = channel.stream_stream(
        f"/{name}/StreamingSynthesize", request_serializer=pb.StreamingSynthesizeRequest.SerializeToString
    )()
    ahead = config().config.max_audio_ahead
    ahead.FromNanoseconds(round(AHEAD_SECONDS * 1e9))
    form = pb.AudioFormat(encoding=pb.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=SAMPLE_RATE_HERTZ)
    await call.write(config(pacing=pb.PACING_REALTIME, max_audio_ahead=ahead, audio_format=form))
    await call.write(text("u", "A second of sound is here. " * round(seconds)))
    await call.write(end("u"))
    await call.done_writing()
    arrivals = []
    while (data := await call.read()) is not grpc.aio.EOF:
        arrivals.append((data, time.monotonic()))
    return arrivals


def _chunks(arrivals: list[tuple[bytes, float]]) -> tuple[str, list[tuple[int, float]]]:
    """Return a session's id, and each chunk's offset with its arrival."""
    responses = [(pb.StreamingSynthesizeResponse.FromString(data), at) for data, at in arrivals]
    assert responses[-1][0].WhichOneof("response") == "utterance_done", "a session ended early"
    session_id = responses[0][0].session_started.session_id
    return session_id, [(each.audio.sample_offset, at) for each, at in responses if each.HasField("audio")]


def _started() -> "subprocess.Popen[bytes]":
    """Start the server; its first line is its port."""
    return subprocess.Popen([sys.executable, "-m", "benchmarks.paced_sessions", "serve"], stdout=subprocess.PIPE)


async def measure(sessions: int, seconds: float) -> dict[str, Any]:
    """Run paced sessions side by side; return the figures of the chunks' cost."""
    child = _started()
    try:
        assert child.stdout is not None
        address = f"127.0.0.1:{int(child.stdout.readline())}"
        process = psutil.Process(child.pid)
        async with grpc.aio.insecure_channel(address) as channel:
            before = process.cpu_times()
            began = time.monotonic()
            spread = CHUNK_SECONDS / sessions
            with without_collections():
                heard = await asyncio.gather(*(_one(channel, seconds, i * spread) for i in range(sessions)))
            after, wall = process.cpu_times(), time.monotonic() - began
            stub: Any = pb_grpc.TextToSpeechServiceStub(channel)
            due_at = json.loads((await stub.GetServiceInfo(pb.GetServiceInfoRequest())).version)
    finally:
        child.terminate()
        child.wait()
    spoken = [_chunks(arrivals) for arrivals in heard]
    costs = [
        [arrived - moment for moment in due_at[int(session_id)][str(offset)]]
        for session_id, chunks in spoken
        for offset, arrived in chunks
        if offset >= COUNTED_FROM_SECONDS * SAMPLE_RATE_HERTZ
    ]
    count = sum(len(chunks) for _, chunks in spoken)
    cpu = (after.user + after.system) - (before.user + before.system)
    return {
        **Figures.of_seconds([since_due for since_due, _ in costs]).fields(),
        "since_written": Figures.of_seconds([since_written for _, since_written in costs]).fields(),
        "sessions": sessions,
        "server_cores": round(cpu / wall, 3),
        "counted_share_of_chunks": round(len(costs) / count, 3),
        "server_cpu_ms_per_chunk": round(cpu / count * 1e3, 4),
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        uvloop.run(_serve())
    else:
        print(json.dumps(uvloop.run(measure(50, 10.0)), indent=2))
