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
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.cached_weights import CACHE, cached_folder, synthetic_source
from benchmarks.device_timeline import DeviceTimeline, draw_timeline
from benchmarks.long_weights import long_folder
from benchmarks.restless import restless
from benchmarks.served_model import ServedModel
from benchmarks.speaking import TEN_WORDS, Figures, stub_of
from benchmarks.timed_speech import bursts, spoken
from benchmarks.trace_window import Worked, print_window
from tools.process import end_on_signals
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize

LONG_TEXT: Final = (
    "Every actor waits in the green room until a voice calls, and comes on stage in the time that a breath takes, "
    "speaks the line that was written for the evening, and goes back to wait where it is warm."
)
TOKENS_PER_SECOND: Final = 25
ENCODERS: Final = ("s3gen.tokenizer", "s3gen.speaker_encoder", "voice_encoder", "watermark.detector")
STATES: Final = (("away", "host"), ("home", "device"))
"""Where the encoders are: off the device, which is the default, and there."""

PLAIN: Final = {
    "GREENROOM_SERVICE_RESIDENCY__ENABLED": "false",
    "GREENROOM_SERVICE_RESIDENCY__ARENAS": "false",
    "GREENROOM_SERVICE_RESIDENCY__CAPTURED": "false",
    "GREENROOM_SERVICE_PRECISION__T3": "fp32",
    "GREENROOM_SERVICE_PRECISION__S3GEN_FLOW": "fp32",
}
"""Everything off: the service then does what upstream does."""

BUDGET: Final = "GREENROOM_SERVICE_RESIDENCY__BUDGET_BYTES"

Phase = Callable[[str], None]
"""Hears what begins."""

TRACES: Final = ("start_trace", "first_audio_trace", "wake_trace")
"""What the service did, kept beside the figures: to see where the time went."""


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


async def measure(served: ServedModel, rounds: int, phase: Phase, *, moves: bool) -> dict[str, Any]:
    """Measure everything of one model; without `moves`, what a service that is told nothing does."""
    found: dict[str, Any] = {}
    phase("load")
    began = time.perf_counter()
    found["start"] = await asyncio.to_thread(served.start)
    found["start_trace"] = await _trace(served, began, time.perf_counter())
    async with stub_of(served.both.speech_address) as stub:
        phase("voice")
        setup = Setup(served=served, stub=stub, voice=await served.voice(stub), rounds=rounds, phase=phase)
        if moves:
            await asyncio.to_thread(served.place, ENCODERS, away_tier())
        found |= await _speak(setup)
        if moves:
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
    found["speech_sha256"] = runs[-1]["sha256"]
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


def home_and_away() -> tuple[str, str]:
    """Return the tier of what computes, and the one below it."""
    return ("device", "host") if torch.cuda.is_available() else ("host", "disk")


def away_tier() -> str:
    """Return the tier below home."""
    return home_and_away()[1]


async def _chunks(served: ServedModel, stub: Any, config: Any, turns: int) -> dict[str, Any]:
    """Compare decodes with the encoders on HOST (the default), at home, and moving all the while.

    What two halves of the same state differ by is the measurement's own noise. Away and at home are compared turn by
    turn, each first as often as the other, so that neither a drift nor chunks of different sizes count.
    """
    gaps: dict[str, list[float]] = {"away": [], "home": [], "moving": []}
    rates: list[float] = []
    ratios: list[float] = []
    for turn in range(turns):
        for _ in range(2):
            mean = {}
            for state, tier in STATES if turn % 2 else reversed(STATES):
                await asyncio.to_thread(served.place, ENCODERS, tier if torch.cuda.is_available() else "host")
                found = bursts((await spoken(stub, config, LONG_TEXT))["arrivals"])
                mean[state] = statistics.mean(found)
                gaps[state] += found
            ratios.append(mean["away"] / mean["home"])
        moving = restless(str(served.both.control_socket), ENCODERS, home_and_away())
        rate = await asyncio.to_thread(moving.__enter__)
        try:
            gaps["moving"] += bursts((await spoken(stub, config, LONG_TEXT))["arrivals"])
        finally:
            await asyncio.to_thread(moving.__exit__, None, None, None)
        rates += rate
    await asyncio.to_thread(served.place, ENCODERS, None)
    figures = {state: Figures.of_seconds(each).fields() for state, each in gaps.items()}
    halves = [Figures.of_seconds(each).p99_ms for each in (gaps["away"][::2], gaps["away"][1::2])]
    return {
        "gaps": figures,
        "offload_ratio": statistics.median(ratios),
        "offload_turns": len(ratios),
        "moves_per_second": statistics.mean(rates),
        "moves_p99_ratio": figures["moving"]["p99_ms"] / figures["away"]["p99_ms"],
        "noise_p99_ratio": max(halves) / min(halves),
    }


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


def _service_env(options: argparse.Namespace) -> dict[str, str]:
    budget = {} if options.budget_mib is None else {BUDGET: str(options.budget_mib << 20)}
    return {**(PLAIN if options.plain else {}), **budget}


def main() -> int:
    """Measure one model; print and keep."""
    end_on_signals()
    options, has_gpu = _options(), torch.cuda.is_available()
    moves = not options.plain and options.budget_mib is None
    folder = long_folder(cached_folder(synthetic_source(options.size), options.model, options.cache), options.model)
    place = Path(tempfile.mkdtemp(prefix="greenroom-bench-"))
    served = ServedModel(
        options.model, folder, place, device="cuda" if has_gpu else "cpu", service_env=_service_env(options)
    )
    rounds = 4 if options.quick else 24
    timeline = DeviceTimeline() if has_gpu else None
    first: list[dict[str, float]] = []
    try:
        if options.starts > 1:
            # What the first start compiles is kept: it is told by itself.
            first.extend(served.start_and_stop() for _ in range(options.starts - 1))
        if timeline is None:
            found = asyncio.run(measure(served, rounds, lambda _: None, moves=moves))
        else:
            with timeline:
                found = asyncio.run(measure(served, rounds, timeline.begin, moves=moves))
            memory = timeline.timeline
            found["device_mib"] = {"speaking": memory.peak_mib("speak")}
            if moves:
                found["device_mib"]["idle"] = memory.last_mib("idle")
            if options.out:
                draw_timeline(
                    memory, options.out.with_suffix(".png"), title=f"{options.model}, load to wake", close="idle"
                )
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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    has_gpu = torch.cuda.is_available()
    parser.add_argument("--model", type=ChatterboxModel, default=ChatterboxModel.ENGLISH)
    parser.add_argument("--size", type=NetworkSize, default=NetworkSize.FULL if has_gpu else NetworkSize.TINY)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--starts", type=int, default=2, help="the last is measured; the first one compiles kernels")
    parser.add_argument("--quick", action="store_true", help="few rounds, for a first look")
    parser.add_argument("--plain", action="store_true", help="with everything off: eager, fp32, nothing moves")
    parser.add_argument("--budget-mib", type=int, help="modules come by turns within so much memory, and nothing else")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
