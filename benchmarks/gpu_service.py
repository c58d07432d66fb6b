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
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import grpc
import psutil
import torch

from benchmarks.cached_weights import CACHE, cached_folder, synthetic_source
from benchmarks.device_timeline import DeviceTimeline, draw_timeline
from benchmarks.long_weights import long_folder
from benchmarks.reference_tone import write_reference
from benchmarks.speaking import TEN_WORDS, Figures, end, read_until, stub_of, text, without_collections
from greenroom.memory.v1 import residency_pb2, residency_pb2_grpc
from greenroom.tts.v1 import tts_pb2 as pb
from tools.both import Both
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

MIB: Final = 1 << 20


class ServedModel:
    """A running service of one model, and what is asked of it."""

    def __init__(self, model: ChatterboxModel, folder: Path, place: Path, *, device: str) -> None:
        self.both = Both(
            place, model=model.value, weights=str(folder), service_env={"GREENROOM_SERVICE_DEVICE": device}
        )
        self.model = model
        self._folder = folder

    def __repr__(self) -> str:
        return f"<ServedModel {self.model} | {self.both!r}>"

    def start(self) -> dict[str, float]:
        """Start, with the weights in the page cache; return what that took."""
        weight_bytes = 0
        for path in self._folder.iterdir():
            weight_bytes += len(path.read_bytes()) if path.stat().st_size > MIB else 0
        began = time.perf_counter()
        self.both.service.start()
        self.both.wait_serving()
        seconds = time.perf_counter() - began
        lines = Path(f"/proc/{self.both.service.pid}/status").read_text(encoding="ascii").splitlines()
        peak_kib = next(int(each.split()[1]) for each in lines if each.startswith("VmHWM:"))
        return {
            "ready_seconds": seconds,
            "peak_host_mib": peak_kib / 1024,
            "weights_mib": weight_bytes / MIB,
            "resident_host_mib": psutil.Process(self.both.service.pid).memory_info().rss / MIB,
        }

    def place(self, modules: tuple[str, ...] | None, tier: str | None) -> None:
        """Place modules (None: all) on a tier, or release them."""
        wanted = residency_pb2.Tier.Value(f"TIER_{tier.upper()}") if tier else residency_pb2.TIER_UNSPECIFIED
        with grpc.insecure_channel(f"unix:{self.both.control_socket}") as channel:
            control = residency_pb2_grpc.ResidencyServiceStub(channel)
            for module in modules or [each.module for each in self.both.residency().modules]:
                control.PlaceModule(residency_pb2.PlaceModuleRequest(module=module, tier=wanted), timeout=30.0)

    def trim(self) -> None:
        """Have everything given back that is worth nothing while nobody speaks."""
        with grpc.insecure_channel(f"unix:{self.both.control_socket}") as channel:
            if hasattr(residency_pb2, "TrimMemoryRequest"):
                residency_pb2_grpc.ResidencyServiceStub(channel).TrimMemory(
                    residency_pb2.TrimMemoryRequest(), timeout=30.0
                )

    async def voice(self, stub: Any) -> str:
        """Make a voice of ten seconds; return its id."""
        path = self.both.folder / "reference.wav"
        write_reference(path, seconds=10)

        async def upload() -> AsyncIterator[Any]:
            yield pb.CreateVoiceRequest(spec=pb.VoiceSpec(display_name="bench", model=self.model.value))
            yield pb.CreateVoiceRequest(content=path.read_bytes())

        made: str = (await stub.CreateVoice(upload())).voice.id
        return made

    def config(self, voice: str, *, tokens: int, seed: int) -> Any:
        """Return a session's first message."""
        sampling = pb.Sampling(seed=seed, max_segment_tokens=tokens)
        return pb.StreamingSynthesizeRequest(
            config=pb.SessionConfig(
                model=self.model.value, voice=voice, language="en", sampling=sampling, pacing=pb.PACING_NONE
            )
        )


async def spoken(stub: Any, config: Any, words: str, *, open_first: bool = True) -> dict[str, Any]:
    """Speak one text; return first audio and end in seconds, and when samples came.

    Time counts from the last byte of text, in a session that is open; without `open_first`, from opening one, with
    configuration and text sent at once.
    """
    call = stub.StreamingSynthesize()
    opened = time.perf_counter()
    await call.write(config)
    if open_first:
        await read_until(call, "session_started")
    arrivals: list[tuple[float, int]] = []
    with without_collections():
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
    return {"first": first, "seconds": arrivals[-1][0], "speech_seconds": samples / rate, "arrivals": arrivals}


def bursts(arrivals: list[tuple[float, int]]) -> list[float]:
    """Return the times between decodes: from one burst of pieces to the next."""
    starts = [
        moment
        for number, (moment, _) in enumerate(arrivals)
        if not number or moment - arrivals[number - 1][0] > BURST_SECONDS
    ]
    return [after - before for before, after in pairwise(starts)]


async def measure(served: ServedModel, rounds: int, phase: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything of one model."""
    found: dict[str, Any] = {}
    phase("load")
    found["start"] = await asyncio.to_thread(served.start)
    async with stub_of(served.both.speech_address) as stub:
        phase("voice")
        voice = await served.voice(stub)
        short = served.config(voice, tokens=60, seed=1)
        await spoken(stub, short, TEN_WORDS)
        phase("first audio")
        firsts = [(await spoken(stub, short, TEN_WORDS))["first"] for _ in range(rounds)]
        found["first_audio"] = Figures.of_seconds(firsts).fields()
        phase("ten seconds")
        ten = served.config(voice, tokens=10 * TOKENS_PER_SECOND, seed=2)
        runs = [await spoken(stub, ten, LONG_TEXT) for _ in range(max(2, rounds // 4))]
        found["speech_seconds"] = runs[-1]["speech_seconds"]
        found["real_time_factor"] = statistics.median(each["seconds"] / each["speech_seconds"] for each in runs)
        phase("speak")
        await spoken(stub, served.config(voice, tokens=20 * TOKENS_PER_SECOND, seed=3), LONG_TEXT)
        found["chunks"] = await _chunks(served, stub, ten, max(2, rounds // 4))
        found["wake"] = await _wake(served, stub, short, max(2, rounds // 2), phase)
    return found


async def _chunks(served: ServedModel, stub: Any, config: Any, turns: int) -> dict[str, Any]:
    """Compare decodes with the encoders on HOST (the default), at home, and moving all the while."""
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
    medians = {state: statistics.median(each) for state, each in gaps.items()}
    return {
        "gaps": figures,
        "offload_ratio": medians["away"] / medians["home"],
        "moves_p99_ratio": figures["moving"]["p99_ms"] / figures["away"]["p99_ms"],
    }


def _move_on(served: ServedModel, stop: list[bool]) -> None:
    home, away = ("device", "host") if torch.cuda.is_available() else ("host", "disk")
    while not stop:
        for tier in (away, home):
            served.place(ENCODERS, tier)


async def _wake(
    served: ServedModel, stub: Any, config: Any, rounds: int, phase: Callable[[str], None]
) -> dict[str, Any]:
    """Take everything away, give it back on demand; the session is opened with the text."""
    away = "host" if torch.cuda.is_available() else "disk"
    seconds = []
    for _ in range(rounds):
        phase("idle")
        await asyncio.to_thread(served.place, None, away)
        await asyncio.to_thread(served.trim)
        await asyncio.to_thread(served.place, None, None)
        await asyncio.sleep(0.3)
        phase("wake")
        seconds.append((await spoken(stub, config, TEN_WORDS, open_first=False))["first"])
    phase("end")
    return Figures.of_seconds(seconds).fields()


def main() -> int:
    """Measure one model; print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    has_gpu = torch.cuda.is_available()
    parser.add_argument("--model", type=ChatterboxModel, default=ChatterboxModel.ENGLISH)
    parser.add_argument("--size", type=NetworkSize, default=NetworkSize.FULL if has_gpu else NetworkSize.TINY)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--quick", action="store_true", help="few rounds, for a first look")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = long_folder(cached_folder(synthetic_source(options.size), options.model, options.cache), options.model)
    place = Path(tempfile.mkdtemp(prefix="greenroom-bench-"))
    served = ServedModel(options.model, folder, place, device="cuda" if has_gpu else "cpu")
    rounds = 4 if options.quick else 24
    timeline = DeviceTimeline() if has_gpu else None
    try:
        if timeline is None:
            found = asyncio.run(measure(served, rounds, lambda _: None))
        else:
            with timeline:
                found = asyncio.run(measure(served, rounds, timeline.begin))
            memory = timeline.timeline
            found["device_mib"] = {"speaking": memory.peak_mib("speak"), "idle": memory.last_mib("idle")}
            if options.out:
                draw_timeline(memory, options.out.with_suffix(".png"), title=f"{options.model}, load to wake")
    except Exception:
        print(served.both.service.log_tail())
        raise
    finally:
        served.both.stop()
        shutil.rmtree(place, ignore_errors=True)
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
