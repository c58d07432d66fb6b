"""What a client sees of a service on a GPU: start-up, first audio, real-time factor, memory, and what moves do to it.

    python -m benchmarks.gpu_service --model english                       full size on the GPU
    python -m benchmarks.gpu_service --model english --size tiny --quick   the same way to its end on a CPU

The shipped process serves; the client is on the same host. The weights are synthetic and never stop, so that an
utterance has as many tokens as it is allowed. The voice is made from ten seconds of reference audio.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import grpc
import torch

from benchmarks.cached_weights import CACHE, cached_folder, synthetic_source
from benchmarks.device_timeline import DeviceTimeline, draw_timeline
from benchmarks.long_weights import long_folder
from benchmarks.served_model import ServedModel
from benchmarks.speaking import TEN_WORDS, Figures, end, read_until, stub_of, text, without_collections
from benchmarks.trace_window import Worked, print_window
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize

LONG_TEXT: Final = (
    "Every actor waits in the green room until a voice calls, and comes on stage in the time that a breath takes, "
    "speaks the line that was written for the evening, and goes back to wait where it is warm."
)
ENOUGH_SECONDS: Final = 0.1
"""Of audio: 40 ms of fade, and 60 ms beyond."""

TOKENS_PER_SECOND: Final = 25
ENCODERS: Final = ("s3gen.tokenizer", "s3gen.speaker_encoder", "voice_encoder", "watermark.detector")
BURST_SECONDS: Final = 0.003
"""Audio of one decode comes in pieces of 0.16 s, closer together than this."""

PLAIN: Final = {
    "GREENROOM_SERVICE_RESIDENCY__ENABLED": "false",
    "GREENROOM_SERVICE_RESIDENCY__ARENAS": "false",
    "GREENROOM_SERVICE_RESIDENCY__CAPTURED": "false",
    "GREENROOM_SERVICE_PRECISION__T3": "fp32",
    "GREENROOM_SERVICE_PRECISION__S3GEN_FLOW": "fp32",
}
"""Everything off: the service then does what upstream does."""

Phase = Callable[[str], None]
"""Hears what begins."""

TRACES: Final = ("start_trace", "first_audio_trace", "wake_trace")
"""What the service did, kept beside the figures: to see where the time went."""


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
        samples = 0
        while True:
            response = await call.read()
            if response is grpc.aio.EOF:
                raise RuntimeError(f"the stream ended: {await call.code()} {await call.details()}")
            match response.WhichOneof("response"):
                case "audio":
                    samples += response.audio.sample_count
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A running service with a voice, how often things are measured, and who hears what begins."""

    served: ServedModel
    stub: Any
    voice: str
    rounds: int
    phase: Phase

    def config(self, *, tokens: int, seed: int) -> Any:
        """Return a session's first message."""
        return self.served.config(self.voice, tokens=tokens, seed=seed)


async def measure(served: ServedModel, rounds: int, phase: Phase, *, plain: bool) -> dict[str, Any]:
    """Measure everything of one model; of a service with everything off, what it can do all the same."""
    found: dict[str, Any] = {}
    phase("load")
    began = time.perf_counter()
    found["start"] = await asyncio.to_thread(served.start)
    found["start_trace"] = await _trace(served, began, time.perf_counter())
    async with stub_of(served.both.speech_address) as stub:
        phase("voice")
        setup = Setup(served=served, stub=stub, voice=await served.voice(stub), rounds=rounds, phase=phase)
        if not plain:
            await asyncio.to_thread(served.place, ENCODERS, away_tier())
        found |= await _speak(setup)
        if not plain:
            found |= await _move(setup)
    return found


async def _speak(setup: Setup) -> dict[str, Any]:
    """Measure first audio, the real-time factor, and what is held while a long segment is spoken."""
    found: dict[str, Any] = {}
    stub, short = setup.stub, setup.config(tokens=60, seed=1)
    await spoken(stub, short, TEN_WORDS)
    setup.phase("first audio")
    firsts = [await spoken(stub, short, TEN_WORDS) for _ in range(setup.rounds)]
    found["first_audio"] = Figures.of_seconds([each["first"] for each in firsts]).fields()
    found["first_audio_trace"] = await _usual_trace(setup.served, firsts)
    setup.phase("ten seconds")
    ten = setup.config(tokens=10 * TOKENS_PER_SECOND, seed=2)
    runs = [await spoken(stub, ten, LONG_TEXT) for _ in range(max(2, setup.rounds // 4))]
    found["speech_seconds"] = runs[-1]["speech_seconds"]
    found["real_time_factor"] = statistics.median(each["seconds"] / each["speech_seconds"] for each in runs)
    setup.phase("speak")
    await spoken(stub, setup.config(tokens=20 * TOKENS_PER_SECOND, seed=3), LONG_TEXT)
    setup.phase("spoken")
    found["usage_speaking"] = await asyncio.to_thread(setup.served.usage)
    return found


async def _move(setup: Setup) -> dict[str, Any]:
    """Measure what moves do to chunks, waking up, and what is held with everything away."""
    served = setup.served
    setup.phase("chunks")
    chunks = await _chunks(served, setup.stub, setup.config(tokens=20 * TOKENS_PER_SECOND, seed=4), setup.rounds // 2)
    woken = await _wake(setup, max(2, setup.rounds // 2))
    found = {
        "chunks": chunks,
        "wake": Figures.of_seconds([each["first"] for each in woken]).fields(),
        "wake_trace": await _usual_trace(served, woken),
        "usage_woken": await asyncio.to_thread(served.usage),
    }
    await asyncio.to_thread(served.place, None, away_tier())
    await asyncio.to_thread(served.trim)
    return found | {"usage_idle": await asyncio.to_thread(served.usage)}


def away_tier() -> str:
    """Return the tier below home."""
    return "host" if torch.cuda.is_available() else "disk"


async def _chunks(served: ServedModel, stub: Any, config: Any, turns: int) -> dict[str, Any]:
    """Compare decodes with the encoders on HOST (the default), at home, and moving all the while.

    What two halves of the same state differ by is the measurement's own noise.
    """
    gaps: dict[str, list[float]] = {"away": [], "home": [], "moving": []}
    for _ in range(turns):
        for state, tier in (("away", "host"), ("home", "device")):
            await asyncio.to_thread(served.place, ENCODERS, tier if torch.cuda.is_available() else "host")
            gaps[state] += bursts((await spoken(stub, config, LONG_TEXT))["arrivals"])
        mover = asyncio.create_task(asyncio.to_thread(_move_on, served, stop := []))
        gaps["moving"] += bursts((await spoken(stub, config, LONG_TEXT))["arrivals"])
        stop.append(True)
        await mover
    await asyncio.to_thread(served.place, ENCODERS, None)
    figures = {state: Figures.of_seconds(each).fields() for state, each in gaps.items()}
    halves = [Figures.of_seconds(each).p99_ms for each in (gaps["away"][::2], gaps["away"][1::2])]
    medians = {state: statistics.median(each) for state, each in gaps.items()}
    return {
        "gaps": figures,
        "offload_ratio": medians["away"] / medians["home"],
        "moves_p99_ratio": figures["moving"]["p99_ms"] / figures["away"]["p99_ms"],
        "noise_p99_ratio": max(halves) / min(halves),
    }


def _move_on(served: ServedModel, stop: list[bool]) -> None:
    home, away = ("device", "host") if torch.cuda.is_available() else ("host", "disk")
    while not stop:
        for tier in (away, home):
            served.place(ENCODERS, tier)


async def _wake(setup: Setup, rounds: int) -> list[dict[str, Any]]:
    """Take everything away, give it back on demand; the session is opened with the text."""
    served, short = setup.served, setup.config(tokens=60, seed=1)
    woken = []
    for _ in range(rounds):
        setup.phase("idle")
        await asyncio.to_thread(served.place, None, away_tier())
        await asyncio.to_thread(served.trim)
        await asyncio.to_thread(served.place, None, None)
        await asyncio.sleep(0.3)
        setup.phase("wake")
        woken.append(await spoken(setup.stub, short, TEN_WORDS, open_first=False))
    setup.phase("end")
    return woken


async def _usual_trace(served: ServedModel, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the service did until the first audio of the run in the middle."""
    usual = sorted(runs, key=lambda each: each["first"])[len(runs) // 2]
    return await _trace(served, usual["began"], usual["began"] + usual["first"])


async def _trace(served: ServedModel, begin_seconds: float, end_seconds: float) -> list[dict[str, Any]]:
    return [asdict(each) for each in await asyncio.to_thread(served.window, begin_seconds, end_seconds)]


def main() -> int:
    """Measure one model; print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    has_gpu = torch.cuda.is_available()
    parser.add_argument("--model", type=ChatterboxModel, default=ChatterboxModel.ENGLISH)
    parser.add_argument("--size", type=NetworkSize, default=NetworkSize.FULL if has_gpu else NetworkSize.TINY)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--starts", type=int, default=2, help="the last is measured; the first one compiles kernels")
    parser.add_argument("--quick", action="store_true", help="few rounds, for a first look")
    parser.add_argument("--plain", action="store_true", help="with everything off: eager, fp32, nothing moves")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = long_folder(cached_folder(synthetic_source(options.size), options.model, options.cache), options.model)
    place = Path(tempfile.mkdtemp(prefix="greenroom-bench-"))
    served = ServedModel(
        options.model, folder, place, device="cuda" if has_gpu else "cpu", service_env=PLAIN if options.plain else None
    )
    rounds = 4 if options.quick else 24
    timeline = DeviceTimeline() if has_gpu else None
    first: list[dict[str, float]] = []
    try:
        if options.starts > 1:
            # What the first start compiles is kept: it is told by itself.
            first.extend(served.start_and_stop() for _ in range(options.starts - 1))
        if timeline is None:
            found = asyncio.run(measure(served, rounds, lambda _: None, plain=options.plain))
        else:
            with timeline:
                found = asyncio.run(measure(served, rounds, timeline.begin, plain=options.plain))
            memory = timeline.timeline
            found["device_mib"] = {"speaking": memory.peak_mib("speak")}
            if not options.plain:
                found["device_mib"]["idle"] = memory.last_mib("idle")
            if options.out:
                draw_timeline(memory, options.out.with_suffix(".png"), title=f"{options.model}, load to wake")
    except Exception:
        print(served.both.service.log_tail())
        raise
    finally:
        served.both.stop()
        shutil.rmtree(place, ignore_errors=True)
    found["starts_before"] = first
    for name in TRACES:
        print_window(name, [Worked(**each) for each in found.get(name, [])])
    print(json.dumps({name: value for name, value in found.items() if name not in TRACES}, indent=1))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
