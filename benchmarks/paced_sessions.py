"""What gRPC, pacing and encoding cost a chunk: paced sessions of prepared audio, without any model.

The server is a process of its own: the shipped speech servicer and session shell over a renderer that hands out
prepared 40 ms pieces, resampled and coded like real ones. A chunk's cost is the time from the moment at which pacing
lets it leave to its arrival at the client, on the machine's common monotonic clock; chunks of the first moments, which
leave at once to build up the lead, have no such moment.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import uvloop

from benchmarks.speaking import Figures, config, end, read_until, stub_of, text
from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc
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
    RenderSegment,
    SegmentMade,
)
from tts_service.speech.session import Session
from tts_service.speech.session_config import Defaults, ModelFacts, Offer, VoiceFacts
from tts_service.speech.session_limits import SessionLimits

CHUNK_SECONDS = 0.04
PIECE = np.sin(np.arange(960, dtype=np.float32) * 0.1) * np.float32(0.3)
PIECES_PER_SEGMENT = 25
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

    def __init__(self, emit: Callable[[Any], None]) -> None:
        self._emit = emit
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
        start = self._samples
        for _ in range(PIECES_PER_SEGMENT):
            piece = encoder.write(PIECE)
            self._samples += piece.sample_count
            self._emit(AudioMade(utterance_id=order.utterance_id, piece=piece))
            await asyncio.sleep(CHUNK_SECONDS / 2)
        self._emit(
            SegmentMade(
                utterance_id=order.utterance_id,
                segment=order.segment,
                sample_start=start,
                sample_end=self._samples,
                compute_seconds=0.0,
            )
        )


class TimedShell(SessionShell):
    """Notes when pacing meant to let each chunk leave; a chunk that was late already has no such moment."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.due_at: dict[int, float] = {}
        self._wake_at: float | None = None

    async def _sleep(self) -> None:
        self._wake_at = self.session.wake_at(self._clock())
        await super()._sleep()

    def note(self, sample_offset: int) -> None:
        """Note the moment of the chunk that is about to be written."""
        if self._wake_at is not None and abs(self._clock() - self._wake_at) < CHUNK_SECONDS:
            self.due_at[sample_offset] = self._wake_at
        self._wake_at = None


class PreparedService(tts_pb2_grpc.TextToSpeechServiceServicer):
    """StreamingSynthesize as it is shipped, over prepared audio."""

    def __init__(self) -> None:
        self.due_at: list[dict[int, float]] = []

    async def StreamingSynthesize(self, request_iterator: Any, context: Any) -> None:  # noqa: N802  # The wire's name.
        """Serve a session."""
        first = await anext(aiter(request_iterator))
        limits = responses.wire_limits(SessionLimits(), sessions=1, detect_seconds=1, detect_bytes=1)
        session_id = str(len(self.due_at))
        request = config_request(first.config, streaming=True)
        session = Session(request, OFFER, Defaults(seed=1), SessionLimits(), now=time.monotonic())

        async def write(message: protocol.ServerMessage) -> None:
            if isinstance(message, protocol.AudioChunk):
                shell.note(message.sample_offset)
            await context.write(responses.session_response(message, session_id=session_id, limits=limits))

        async def messages() -> Any:
            async for request in request_iterator:
                yield client_message(request)

        make_renderer: Any = PreparedRenderer
        shell = TimedShell(session, make_renderer, write, time.monotonic)
        self.due_at.append(shell.due_at)
        await shell.run(messages())

    async def GetServiceInfo(self, request: Any, context: Any) -> pb.GetServiceInfoResponse:  # noqa: N802
        """Hand the moments of all chunks over, because the benchmark is over."""
        del request, context
        return pb.GetServiceInfoResponse(version=json.dumps(self.due_at))


async def _serve() -> None:
    import grpc  # noqa: PLC0415  # Only the child serves.

    server = grpc.aio.server(options=OPTIONS)
    tts_pb2_grpc.add_TextToSpeechServiceServicer_to_server(PreparedService(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


async def _one(stub: Any, seconds: float, delay_seconds: float) -> tuple[str, list[tuple[int, float]]]:
    """Listen to one session; return its id and each chunk's offset with its arrival."""
    await asyncio.sleep(delay_seconds)
    call = stub.StreamingSynthesize()
    ahead = config().config.max_audio_ahead
    ahead.FromNanoseconds(round(AHEAD_SECONDS * 1e9))
    form = pb.AudioFormat(encoding=pb.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=16_000)
    await call.write(config(pacing=pb.PACING_REALTIME, max_audio_ahead=ahead, audio_format=form))
    session_id = (await read_until(call, "session_started")).session_started.session_id
    await call.write(text("u", "A second of sound is here. " * round(seconds)))
    await call.write(end("u"))
    arrivals = []
    while True:
        response = await call.read()
        kind = response.WhichOneof("response")
        if kind == "audio":
            audio = response.audio
            arrivals.append((audio.sample_offset, time.monotonic()))
        elif kind == "utterance_done":
            call.cancel()
            return session_id, arrivals


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
        async with stub_of(address) as stub:
            before = process.cpu_times()
            began = time.monotonic()
            spread = CHUNK_SECONDS / sessions
            heard = await asyncio.gather(*(_one(stub, seconds, i * spread) for i in range(sessions)))
            after, wall = process.cpu_times(), time.monotonic() - began
            due_at = json.loads((await stub.GetServiceInfo(pb.GetServiceInfoRequest())).version)
    finally:
        child.terminate()
        child.wait()
    costs = [
        arrived - due_at[int(session_id)][str(offset)]
        for session_id, arrivals in heard
        for offset, arrived in arrivals
        if str(offset) in due_at[int(session_id)]
    ]
    chunks = sum(len(arrivals) for _, arrivals in heard)
    cpu = (after.user + after.system) - (before.user + before.system)
    return {
        **{f: getattr(Figures.of_seconds(costs), f) for f in Figures.__slots__},
        "sessions": sessions,
        "server_cores": round(cpu / wall, 3),
        "paced_share_of_chunks": round(len(costs) / chunks, 3),
        "server_cpu_ms_per_chunk": round(cpu / chunks * 1e3, 4),
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        uvloop.run(_serve())
    else:
        print(json.dumps(uvloop.run(measure(50, 10.0)), indent=2))
