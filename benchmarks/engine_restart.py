"""What an engine in a process of its own costs, and how soon it is back after `kill -9` in mid-speech.

    python -m benchmarks.engine_restart --model english              full size on the GPU
    python -m benchmarks.engine_restart --size tiny --kills 1        the same way to its end on a CPU

First audio is measured with the engine in the service's process and in its own, in the same run. Then the engine is
killed while it speaks: printed is when the client was told, when health was green again, when the same text was heard
again, whether it was the same audio, and what the log says about the masters, which are to be found and not loaded.
"""

import argparse
import asyncio
import json
import os
import signal
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil
import torch

from benchmarks.cached_weights import CACHE, cached_folder, synthetic_source
from benchmarks.served_model import ServedModel
from benchmarks.speaking import TEN_WORDS, Figures, read_until, stub_of, text
from benchmarks.timed_speech import spoken
from tools.process import end_on_signals
from tts_service.engine_process.process_rules import ENGINE_NAME
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize

TOLD: Final = (
    *("engine_copied", "engine_not_copied", "engine_started", "engine_ready", "engine_ended"),
    *("master_found", "host_memory_not_pinned"),
)
"""What the log may say that matters here."""
MOST_SECONDS: Final = 240.0


def main() -> int:
    """Measure both, print and keep."""
    options = _options()
    end_on_signals()
    folder = cached_folder(synthetic_source(options.size), options.model, options.cache)
    found: dict[str, Any] = {}
    for process in ("same", "own"):
        print(f"== engine.process={process}", flush=True)
        with tempfile.TemporaryDirectory(prefix="greenroom-restart-") as place:
            env = {
                "GREENROOM_SERVICE_ENGINE__PROCESS": process,
                "GREENROOM_SERVICE_LOG_FORMAT": "json",
                "GREENROOM_SERVICE_ENGINE__MOST_DEATHS": "100",
            }
            served = ServedModel(options.model, folder, Path(place), device=options.device, service_env=env)
            try:
                kills = options.kills if process == "own" else 0
                found[process] = asyncio.run(_measure(served, options.rounds, kills))
            finally:
                served.both.stop()
            found[process]["log"] = _told(served.both.service.log_path)
            _print(found[process])
    same, own = (found[process]["first_audio"]["p50_ms"] for process in ("same", "own"))
    print(f"first audio, own process against the same: {own / same:.3f}")
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    wrong = sum(not each["same_audio"] for each in found["own"]["kills"])
    return 1 if wrong else 0


async def _measure(served: ServedModel, rounds: int, kills: int) -> dict[str, Any]:
    found: dict[str, Any] = {"start": await asyncio.to_thread(served.start)}
    async with stub_of(served.both.speech_address) as stub:
        voice = await served.voice(stub)
        asked = served.config(voice, tokens=60, seed=1)
        await spoken(stub, asked, TEN_WORDS)
        heard = [await spoken(stub, asked, TEN_WORDS) for _ in range(rounds)]
        found["first_audio"] = Figures.of_seconds([each["first"] for each in heard]).fields()
        found["kills"] = [await _kill(served, stub, voice, heard[0]["sha256"]) for _ in range(kills)]
        found["usage"] = (await asyncio.to_thread(served.usage))["device"]
    return found


async def _kill(served: ServedModel, stub: Any, voice: str, usual: str) -> dict[str, Any]:
    """Kill the engine in mid-speech; return when what was there again, in seconds since then."""
    call = stub.StreamingSynthesize()
    await call.write(served.config(voice, tokens=500, seed=9))
    await call.write(text("u", (TEN_WORDS + " ") * 40))
    await read_until(call, "audio")
    began = time.perf_counter()
    killed = _engines(served.both.service.pid)
    os.kill(killed[0], signal.SIGKILL)
    error = (await read_until(call, "utterance_error")).utterance_error
    told = time.perf_counter() - began
    call.cancel()
    await asyncio.to_thread(_wait_for_another, served, killed)
    green = time.perf_counter() - began
    again = await spoken(stub, served.config(voice, tokens=60, seed=1), TEN_WORDS)
    return {
        "told_seconds": told,
        "green_seconds": green,
        "heard_seconds": again["began"] + again["first"] - began,
        "first_audio_ms": 1e3 * again["first"],
        "same_audio": again["sha256"] == usual,
        "error": error.error.message,
    }


def _engines(pid: int) -> list[int]:
    found: list[int] = []
    for each in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # Others end meanwhile.
            found += [each.pid] if each.name() == ENGINE_NAME else []
    return found


def _wait_for_another(served: ServedModel, killed: list[int]) -> None:
    """Wait until another engine speaks. Raises TimeoutError."""
    deadline = time.monotonic() + MOST_SECONDS
    while _engines(served.both.service.pid) in ([], killed):
        if time.monotonic() > deadline:
            raise TimeoutError("no other engine came; the service's log says why")
        time.sleep(0.01)
    served.both.wait_serving()


def _told(log: Path) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    return [each for each in events if each["event"] in TOLD or each.get("level") in {"warning", "error"}]


def _print(found: dict[str, Any]) -> None:
    start, first = found["start"], found["first_audio"]
    print(f"ready {start['ready_seconds']:.2f} s, host peak {start['VmHWM']:.0f} MiB")
    print(f"first audio p50 {first['p50_ms']:.1f} ms, max {first['max_ms']:.1f} of {first['count']}")
    for each in found["kills"]:
        print(
            f"killed: told {each['told_seconds'] * 1e3:.0f} ms, green {each['green_seconds']:.2f} s, heard "
            f"{each['heard_seconds']:.2f} s (first audio {each['first_audio_ms']:.0f} ms), "
            f"{'the same audio' if each['same_audio'] else 'OTHER AUDIO'}: {each['error']}"
        )
    print(f"device: { {name: round(value) for name, value in found['usage'].items()} }")
    print(f"log: {dict(Counter(each['event'] for each in found['log']))}")
    for each in found["log"]:
        if each["event"] != "master_found":
            print(f"   {each}"[:240])


def _options() -> argparse.Namespace:
    has_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=ChatterboxModel, default=ChatterboxModel.ENGLISH)
    parser.add_argument("--size", type=NetworkSize, default=NetworkSize.FULL if has_gpu else NetworkSize.TINY)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the weights")
    parser.add_argument("--device", default="cuda" if has_gpu else "cpu")
    parser.add_argument("--rounds", type=int, default=12, help="texts whose first audio is measured")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--out", type=Path, help="file for the figures (JSON)")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
