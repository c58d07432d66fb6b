"""How fast an interruption is acknowledged, and that nothing follows it."""

import time
from typing import Any

from benchmarks.speaking import Figures, Request, config, read_until, text
from greenroom.tts.v1 import tts_pb2 as pb

SENTENCES = "Here is a sentence that is long enough to be interrupted somewhere in the middle of it. " * 6


async def measure(stub: Any, count: int) -> dict[str, Any]:
    """Interrupt utterances at different moments; return the figures and the chunks that came too late."""
    seconds, late_chunks = [], 0
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
        seconds.append(time.perf_counter() - began)
        late_chunks += await _late_chunks(call, utterance_id)
    call.cancel()
    figures = Figures.of_seconds(seconds)
    return {**{f: getattr(figures, f) for f in Figures.__slots__}, "chunks_after_the_cancel": late_chunks}


async def _late_chunks(call: Any, utterance_id: str) -> int:
    """Speak a word more, and count what still came of the interrupted utterance."""
    late, after = 0, utterance_id + "-after"
    await call.write(text(after, "Done."))
    await call.write(Request(end_utterance=pb.EndUtterance(utterance_id=after)))
    while True:
        response = await call.read()
        kind = response.WhichOneof("response")
        late += kind == "audio" and response.audio.utterance_id == utterance_id
        if kind == "utterance_done" and response.utterance_done.utterance_id == after:
            return late
