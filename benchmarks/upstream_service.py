"""What upstream's own object costs on a GPU: the peer that `benchmarks.gpu` puts beside the service, in the same run.

    python -m benchmarks.upstream_service --model english --out upstream.json

The same folder, texts and numbers of tokens as `gpu_service`; without its watermark. `generate()` gives a whole
utterance, so that its first audio is its last. It is put away with `module.to("cpu")` and called back with
`module.to("cuda")`, as its users do.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import torch

from benchmarks.cached_weights import CACHE, cached_folder, synthetic_source
from benchmarks.device_memory import MIB, DeviceMemory
from benchmarks.gpu_service import LONG_TEXT, TOKENS_PER_SECOND
from benchmarks.host_memory import host_bytes
from benchmarks.long_weights import long_folder
from benchmarks.reference_tone import write_reference
from benchmarks.speaking import TEN_WORDS
from benchmarks.upstream_models import upstream_assembled, upstream_limited, upstream_loaded
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.upstream import quiet
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ

GIB: Final = 1 << 30
SHORT_TOKENS: Final = 60
STEP_TOKENS: Final = (200, 400)
"""Lengths whose difference gives a step around position 300 to 400: the prompt takes the first hundred."""

PARTS: Final = ("t3", "s3gen", "ve")


class Upstream:
    """Upstream's object on a device, and what is asked of it."""

    def __init__(self, model: ChatterboxModel, folder: Path, *, device: str, size: NetworkSize) -> None:
        load = upstream_loaded if size is NetworkSize.FULL else upstream_assembled
        self._theirs = load(folder, model, device)
        self._model = model
        self._loop = "inference_turbo" if model is ChatterboxModel.TURBO else "inference"
        self._unlimited = getattr(self._theirs.t3, self._loop)
        self._spoken_in = {"language_id": "en"} if model is ChatterboxModel.MULTILINGUAL else {}
        self._device = torch.device(device)

    def __repr__(self) -> str:
        return f"<Upstream {self._model} on {self._device}>"

    @property
    def byte_count(self) -> int:
        """What its parameters and buffers hold."""
        return sum(
            tensor.nbytes
            for part in PARTS
            for tensor in (*getattr(self._theirs, part).parameters(), *getattr(self._theirs, part).buffers())
        )

    def create_voice(self, reference: Path) -> None:
        """Take a recording's voice."""
        with quiet():
            self._theirs.prepare_conditionals(str(reference))

    def spoken(self, words: str, tokens: int, *, seed: int = 1) -> tuple[float, float]:
        """Speak so many tokens; return the seconds that this took and those of the speech."""
        torch.manual_seed(seed)
        with self._limited(tokens), quiet():
            samples, seconds = _timed(lambda: self._theirs.generate(words, **self._spoken_in).shape[-1])
        return seconds, samples / MODEL_SAMPLE_RATE_HERTZ

    def step_ms(self, rounds: int) -> float:
        """Return what a token costs around position 300, from utterances of two lengths."""
        few, many = STEP_TOKENS
        short = statistics.median(self._tokens_seconds(few) for _ in range(rounds))
        long = statistics.median(self._tokens_seconds(many) for _ in range(rounds))
        return 1e3 * (long - short) / (many - few)

    def move(self, device: str) -> float:
        """Move all of it; return the seconds."""

        def moved() -> None:
            for part in PARTS:
                getattr(self._theirs, part).to(device)
            self._wait()

        _, seconds = _timed(moved)
        return seconds

    def _tokens_seconds(self, tokens: int) -> float:
        """Return the seconds of T3's loop within one utterance of so many tokens."""
        taken: list[float] = []
        with self._limited(tokens):
            limited = getattr(self._theirs.t3, self._loop)

            def timed(**arguments: Any) -> Any:
                def looped() -> Any:
                    found = limited(**arguments)
                    self._wait()
                    return found

                self._wait()
                found, seconds = _timed(looped)
                taken.append(seconds)
                return found

            setattr(self._theirs.t3, self._loop, timed)
            with quiet():
                self._theirs.generate(LONG_TEXT, **self._spoken_in)
        return taken[0]

    @contextmanager
    def _limited(self, tokens: int) -> Iterator[None]:
        upstream_limited(self._theirs, self._model, tokens)
        try:
            yield
        finally:
            setattr(self._theirs.t3, self._loop, self._unlimited)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything of one model."""
    folder = long_folder(cached_folder(synthetic_source(options.size), options.model, options.cache), options.model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    memory = DeviceMemory(device)
    theirs = Upstream(options.model, folder, device=device, size=options.size)
    found: dict[str, Any] = {"ready_seconds": time.time() - psutil.Process().create_time()}
    found["host_peak_mib"] = host_bytes("VmHWM") / MIB
    with tempfile.TemporaryDirectory() as place:
        reference = Path(place) / "reference.wav"
        write_reference(reference, seconds=10)
        theirs.create_voice(reference)
    rounds = options.rounds
    theirs.spoken(TEN_WORDS, SHORT_TOKENS)
    found["first_audio_ms"] = 1e3 * statistics.median(theirs.spoken(TEN_WORDS, SHORT_TOKENS)[0] for _ in range(rounds))
    runs = [theirs.spoken(LONG_TEXT, 10 * TOKENS_PER_SECOND) for _ in range(rounds)]
    found["real_time_factor"] = statistics.median(taken / speech for taken, speech in runs)
    found["t3_step_ms"] = theirs.step_ms(rounds)
    theirs.spoken(LONG_TEXT, 20 * TOKENS_PER_SECOND)
    found["speaking"] = memory.reading()
    found["moves"] = [_wake(theirs, memory, device) for _ in range(rounds)]
    found["bytes"] = theirs.byte_count
    found["wake_ms"] = statistics.median(each["wake_ms"] for each in found["moves"])
    found["evict_ms_per_gib"] = statistics.median(each["away_ms"] * GIB / theirs.byte_count for each in found["moves"])
    return found


def _wake(theirs: Upstream, memory: DeviceMemory, device: str) -> dict[str, Any]:
    """Put everything away and call it back with a text."""
    away_seconds = theirs.move("cpu")
    if device == "cuda":
        torch.cuda.empty_cache()
    idle = memory.reading()
    home_seconds = theirs.move(device)
    spoken_seconds, _ = theirs.spoken(TEN_WORDS, SHORT_TOKENS)
    return {
        "away_ms": 1e3 * away_seconds,
        "home_ms": 1e3 * home_seconds,
        "wake_ms": 1e3 * (home_seconds + spoken_seconds),
        "idle": idle,
    }


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    found = call()
    return found, time.perf_counter() - began


def main() -> int:
    """Measure one model; print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    full = NetworkSize.FULL if torch.cuda.is_available() else NetworkSize.TINY
    parser.add_argument("--model", type=ChatterboxModel, default=ChatterboxModel.ENGLISH)
    parser.add_argument("--size", type=NetworkSize, default=full)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measure(options)
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
