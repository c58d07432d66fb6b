"""One text spoken in a session, with the times that a client sees."""

import hashlib
import time
from itertools import pairwise
from typing import Any, Final

import grpc

from benchmarks.speaking import end, read_until, text, without_collections

ENOUGH_SECONDS: Final = 0.1
"""Of audio: 40 ms of fade, and 60 ms beyond."""

BURST_SECONDS: Final = 0.003
"""Audio of one decode comes in pieces of 0.16 s, closer together than this."""


async def spoken(stub: Any, config: Any, words: str, *, open_first: bool = True) -> dict[str, Any]:
    """Speak one text; return first audio and end in seconds, and when samples came.

    Time counts from the last byte of text, in a session that is open; without `open_first`, from opening one, with
    configuration and text sent at once.
    """
    arrivals: list[tuple[float, int]] = []
    with without_collections():
        call = stub.StreamingSynthesize()
        opened = time.perf_counter()
        await call.write(config)
        if open_first:
            await read_until(call, "session_started")
        await call.write(text("u", words))
        began = time.perf_counter() if open_first else opened
        await call.write(end("u"))
        samples, heard = 0, hashlib.sha256()
        while True:
            response = await call.read()
            if response is grpc.aio.EOF:
                raise RuntimeError(f"the stream ended: {await call.code()} {await call.details()}")
            match response.WhichOneof("response"):
                case "audio":
                    samples += response.audio.sample_count
                    heard.update(response.audio.data)
                    arrivals.append((time.perf_counter() - began, samples))
                case "utterance_done":
                    break
                case "utterance_error":
                    raise RuntimeError(str(response.utterance_error))
    await call.done_writing()
    rate = 24_000
    first = next((moment for moment, count in arrivals if count >= ENOUGH_SECONDS * rate), arrivals[-1][0])
    return {
        "began": began,
        "first": first,
        "seconds": arrivals[-1][0],
        "speech_seconds": samples / rate,
        "sha256": heard.hexdigest(),
        "arrivals": arrivals,
    }


def bursts(arrivals: list[tuple[float, int]]) -> list[float]:
    """Return the times between decodes: from one burst of pieces to the next."""
    starts = [
        moment
        for number, (moment, _) in enumerate(arrivals)
        if not number or moment - arrivals[number - 1][0] > BURST_SECONDS
    ]
    return [after - before for before, after in pairwise(starts)]
