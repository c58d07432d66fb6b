"""`make bench-gpu-fidelity`: what offloading saves on a GPU, beside upstream; prints tables, keeps the figures.

    python -m benchmarks.gpu_savings                               full size on the GPU, kept in results/
    python -m benchmarks.gpu_savings --size tiny --device cpu      the same way to its end, without memory's columns
    python -m benchmarks.gpu_savings --parts endurance --utterances 200 --models english

Weights are synthetic and made once into the cache. Each part runs in a process of its own (`gpu_parts`). Upstream is
measured without its watermark, and so is ours. Utterances have a fixed number of tokens: the stop token is taken out.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console

from benchmarks.cached_weights import CACHE, cached_folder, synthetic_source
from benchmarks.gpu_tables import failures, print_tables
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize

RESULTS: Final = Path(__file__).with_name("results") / "gpu_savings.json"
PARTS: Final = ("upstream", "resident", "offloaded", "fidelity", "endurance")
PART_SECONDS: Final = 300
MAKE_SECONDS: Final = 240

console = Console(width=140)


def main() -> int:
    """Make weights, run the parts, print, keep; 1 if a part failed or a promise is not kept."""
    options = _options()
    models = [ChatterboxModel(name) for name in options.models]
    made_seconds = _make_weights(models, options)
    kept: dict[str, Any] = {**_about(options), "weights_made_seconds": made_seconds, "models": {}}
    for model in models:
        kept["models"][model.value] = {}
        for part, found in _parts(model, options, is_first=model is models[0]):
            kept["models"][model.value][part] = found
            _keep(kept, options.out)
    print_tables(console, kept)
    wrong = failures(kept)
    for each in wrong:
        console.print(f"[red]{each}[/red]")
    if options.out is not None:
        console.print(f"kept in {options.out}")
    return 1 if wrong else 0


def _keep(kept: dict[str, Any], out: Path | None) -> None:
    """Write what there is so far: a run that is cut off has not measured for nothing."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    has_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[size.value for size in NetworkSize], default="full" if has_gpu else "tiny")
    parser.add_argument("--device", default="cuda" if has_gpu else "cpu")
    parser.add_argument("--models", nargs="+", default=list(ChatterboxModel), help="the first is measured in full")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="of the first model")
    parser.add_argument("--tokens", type=int, help="of an utterance; 25 are a second (125, tiny: 40)")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--utterances", type=int, default=0, help="speak so many in a row, too, with mixed voices")
    parser.add_argument("--utterance-tokens", type=int, default=8, help="of each of those")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the weights")
    parser.add_argument("--out", type=Path, help=f"file for the figures ({RESULTS.name} at full size on a GPU)")
    options = parser.parse_args()
    is_full = options.size == NetworkSize.FULL.value
    options.tokens = options.tokens or (125 if is_full else 40)
    if options.out is None and is_full and options.device.startswith("cuda"):
        options.out = RESULTS
    return options


def _make_weights(models: Sequence[ChatterboxModel], options: argparse.Namespace) -> float:
    """Make the folders that are not in the cache yet, side by side in processes of their own."""
    console.print("[1/2] weights")
    began = datetime.now(tz=UTC)
    threads = str(max(1, (os.cpu_count() or 1) // len(models)))

    def make(model: ChatterboxModel) -> None:
        told = ["--model", model.value, "--size", options.size, "--cache", str(options.cache)]
        command = [sys.executable, "-m", "benchmarks.cached_weights", *told]
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        subprocess.run(command, check=True, env=environment, timeout=MAKE_SECONDS)

    with ThreadPoolExecutor(len(models)) as pool:
        list(pool.map(make, models))
    return (datetime.now(tz=UTC) - began).total_seconds()


def _parts(model: ChatterboxModel, options: argparse.Namespace, *, is_first: bool) -> Iterator[tuple[str, Any]]:
    """Run a model's parts and yield what they found; the first model's are all of them."""
    folder = cached_folder(synthetic_source(NetworkSize(options.size)), model, options.cache)
    for part in options.parts if is_first else ["fidelity"]:
        if part == "endurance" and not options.utterances:
            continue
        console.print(f"[2/2] {model.value}: {part}")
        yield part, _part(part, folder, model, options)


def _part(part: str, folder: Path, model: ChatterboxModel, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a part found, or its last words; what failed costs the others nothing."""
    told = {
        "--folder": folder,
        "--model": model.value,
        "--device": options.device,
        "--tokens": options.tokens,
        "--repeats": options.repeats,
        "--utterances": options.utterances,
        "--utterance-tokens": options.utterance_tokens,
    }
    with tempfile.TemporaryDirectory() as place:
        result = Path(place) / "result.json"
        command = [sys.executable, "-m", "benchmarks.gpu_parts", part, "--result", str(result)]
        command += [str(word) for pair in told.items() for word in pair]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PART_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return {"failed": f"took longer than {PART_SECONDS} s"}
        if done.returncode or not result.exists():
            return {"failed": done.stderr.strip()[-1500:]}
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


def _about(options: argparse.Namespace) -> dict[str, Any]:
    is_cuda = options.device.startswith("cuda")
    name = torch.cuda.get_device_name() if is_cuda else platform.machine()
    return {
        "device": name,
        "command": shlex.join(["python", "-m", "benchmarks.gpu_savings", *sys.argv[1:]]),
        "date": datetime.now(tz=UTC).date().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "size": options.size,
        "tokens": options.tokens,
        "repeats": options.repeats,
    }


if __name__ == "__main__":
    raise SystemExit(main())
