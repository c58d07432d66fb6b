"""What every measurement needs: a bare client of the speech API, and figures of a list of times."""

import asyncio
import gc
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc as pb_grpc

Request = pb.StreamingSynthesizeRequest
TEN_WORDS = "Every actor waits right here until a voice calls him."


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Percentiles of times, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of_seconds(cls, seconds: Sequence[float]) -> "Figures":
        """Return the figures of at least two times."""
        cuts = statistics.quantiles(seconds, n=100, method="inclusive")
        return cls(
            count=len(seconds),
            p50_ms=round(cuts[49] * 1e3, 3),
            p95_ms=round(cuts[94] * 1e3, 3),
            p99_ms=round(cuts[98] * 1e3, 3),
            max_ms=round(max(seconds) * 1e3, 3),
        )

    def fields(self) -> dict[str, Any]:
        """Return the figures by name."""
        return {name: getattr(self, name) for name in self.__slots__}


@contextmanager
def without_collections() -> Iterator[None]:
    """Keep Python's collector at rest: a full collection stops a client for 0.1 s, which is no cost of the service."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@asynccontextmanager
async def stub_of(address: str) -> AsyncIterator[Any]:
    """Give a stub on a channel of its own."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield pb_grpc.TextToSpeechServiceStub(channel)


def config(**fields: Any) -> Request:
    """Return a first message, unpaced unless told otherwise."""
    return Request(config=pb.SessionConfig(**{"pacing": pb.PACING_NONE, **fields}))


def text(utterance_id: str, words: str) -> Request:
    """Return a piece of text."""
    return Request(text=pb.TextChunk(utterance_id=utterance_id, text=words))


def end(utterance_id: str) -> Request:
    """Return an end."""
    return Request(end_utterance=pb.EndUtterance(utterance_id=utterance_id))


async def read_until(call: Any, kind: str, *, within_seconds: float = 60.0) -> Any:
    """Read answers up to the first of a kind; return it."""
    async with asyncio.timeout(within_seconds):
        while True:
            response = await call.read()
            if response is grpc.aio.EOF:
                raise RuntimeError(f"the stream ended before {kind}: {await call.code()} {await call.details()}")
            if response.WhichOneof("response") == kind:
                return response


async def first_audio_seconds(stub: Any, words: str = TEN_WORDS) -> float:
    """Return the time from the last byte of text to the first audio chunk, in a session that is open already."""
    call = stub.StreamingSynthesize()
    await call.write(config())
    await read_until(call, "session_started")
    return await _first_audio(call, words, time.perf_counter())


async def first_audio_of_new_session_seconds(stub: Any, words: str = TEN_WORDS) -> float:
    """Return the time from opening a session to its first audio chunk, with config and text sent at once.

    A service that calls its modules when a session opens gains nothing here that does not count.
    """
    began = time.perf_counter()
    call = stub.StreamingSynthesize()
    await call.write(config())
    return await _first_audio(call, words, began)


async def _first_audio(call: Any, words: str, began: float) -> float:
    await call.write(text("u", words))
    await call.write(end("u"))
    await read_until(call, "audio")
    seconds = time.perf_counter() - began
    await read_until(call, "utterance_done")
    await call.done_writing()
    return seconds


async def whole_text(stub: Any, words: str, seed: int = 1) -> bytes:
    """Return the samples of a whole text."""
    asked = pb.SynthesizeRequest(text=words, config=pb.SessionConfig(sampling=pb.Sampling(seed=seed)))
    return b"".join([r.audio.data async for r in stub.Synthesize(asked) if r.WhichOneof("response") == "audio"])
