"""`make bench-gpu`: everything that a GPU is to show, beside upstream in the same run, in one table and one file.

    python -m benchmarks.gpu                                 all parts, kept in results/gpu.json, about 15 minutes
    python -m benchmarks.gpu --only moves t3                 some parts; the other rows stay as they are in the file
    python -m benchmarks.gpu --size tiny --quick --out /tmp  the same way to its end on a CPU; means nothing

Each part runs in a process of its own, so that none holds what another one took, and leaves its own file beside the
table's. Weights are synthetic. A part that fails says why and costs the others nothing; its rows are not written.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.cached_weights import CACHE
from benchmarks.gpu_rows import Row, rows_of
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize

RESULTS: Final = Path(__file__).with_name("results")
MODELS: Final = (ChatterboxModel.ENGLISH, ChatterboxModel.TURBO)
TAIL_CHARACTERS: Final = 3_000
LOW_BUDGET_MIB: Final = {NetworkSize.FULL.value: "1300", NetworkSize.TINY.value: "16"}
"""What T3 needs for a step, and little more: English holds 1,700 when all of it speaks."""


console = Console(width=150)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A benchmark that finds some of the rows, and how long it may take."""

    name: str
    command: tuple[str, ...]
    most_seconds: float
    needs_gpu: bool = False
    model: ChatterboxModel | None = None


def parts_of(options: argparse.Namespace) -> tuple[Part, ...]:
    """Return all parts as these options want them."""
    sized = ("--size", options.size, "--cache", str(options.cache))
    quick = ("--quick", "--starts", "1") if options.quick else ()
    some = ("--cycles", "40", "--tokens", "40") if options.quick else ()
    cycles = ("--sizes", "256", "1024", "--moves", "60", "--cycles", "1000")
    t3 = ("--only", "steps,prompts", "--size", options.size, "--device", options.device)
    return (
        Part(name="moves", command=("arena_moves", *cycles), most_seconds=150, needs_gpu=True),
        Part(name="t3", command=("t3_speed", *t3), most_seconds=120),
        Part(
            name="captured",
            command=("captured_speech", "--device", options.device, *sized, *some),
            most_seconds=240,
            model=ChatterboxModel.ENGLISH,
        ),
        Part(
            name="low_memory",
            command=("gpu_service", "--quick", "--starts", "1", "--budget-mib", LOW_BUDGET_MIB[options.size], *sized),
            most_seconds=150,
            model=ChatterboxModel.ENGLISH,
        ),
        Part(
            name="plain",
            command=("gpu_service", "--plain", "--quick", "--starts", "1", *sized),
            most_seconds=240,
            model=ChatterboxModel.ENGLISH,
        ),
        *(
            part
            for model in MODELS
            for part in (
                Part(
                    name=f"upstream_{model}",
                    command=("upstream_service", "--model", model.value, "--rounds", str(options.rounds), *sized),
                    most_seconds=240,
                    model=model,
                ),
                Part(
                    name=model.value,
                    command=("gpu_service", "--model", model.value, *sized, *quick),
                    most_seconds=420,
                    model=model,
                ),
            )
        ),
    )


def main() -> int:
    """Make weights, run the parts, keep the rows, print the table; 1 if a part failed or a target is missed."""
    options = _options()
    wanted = [each for each in parts_of(options) if not options.only or each.name in options.only]
    skipped = [each.name for each in wanted if each.needs_gpu and options.device == "cpu"]
    wanted = [each for each in wanted if each.name not in skipped]
    _make_weights({each.model for each in wanted if each.model is not None}, options)
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for number, part in enumerate(wanted, start=1):
        console.print(f"[{number}/{len(wanted)}] {part.name}: {shlex.join(part.command)}", highlight=False)
        try:
            found[part.name] = _run(part, options.out)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            failed[part.name] = str(error)
            console.print(f"[red]{part.name} failed[/red]: {error}", highlight=False, markup=False)
        _keep(options, rows_of(_with_earlier(found, options)))
    rows = rows_of(_with_earlier(found, options))
    _print(rows, device=_device(options))
    for name in skipped:
        console.print(f"{name}: only on a GPU")
    missed = [name for name, row in rows.items() if not row.is_met]
    console.print(f"kept in {options.out / 'gpu.json'}; missed: {', '.join(missed) or 'none'}")
    return 1 if failed or (missed and options.size == NetworkSize.FULL.value) else 0


def _options() -> argparse.Namespace:
    has_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[size.value for size in NetworkSize], default="full" if has_gpu else "tiny")
    parser.add_argument("--device", default="cuda" if has_gpu else "cpu")
    parser.add_argument(
        "--only", nargs="+", metavar="PART", help="moves, t3, plain, english, turbo, upstream_english, …"
    )
    parser.add_argument("--rounds", type=int, default=2, help="of each of upstream's figures")
    parser.add_argument("--quick", action="store_true", help="few rounds and one start, for a first look")
    parser.add_argument("--commit", default="", help="what is measured, where there is no repository")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the weights")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the figures")
    options = parser.parse_args()
    if not has_gpu and options.out == RESULTS:
        parser.error("there is no GPU: give --out, so that the recorded results stay")
    unknown = set(options.only or ()) - {each.name for each in parts_of(options)}
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def _make_weights(models: set[ChatterboxModel], options: argparse.Namespace) -> None:
    """Make the folders that are not in the cache yet, side by side."""
    if not models:
        return
    console.print(f"weights of {', '.join(sorted(models))}, if they are not there: a minute")
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // len(models)))}

    def make(model: ChatterboxModel) -> None:
        told = ("--model", model.value, "--size", options.size, "--cache", str(options.cache))
        subprocess.run(_python("cached_weights", *told), check=True, env=environment)

    with ThreadPoolExecutor(len(models)) as pool:
        list(pool.map(make, models))


def _run(part: Part, folder: Path) -> Any:
    """Run a part and return what it found. Raises RuntimeError with its last words, or TimeoutExpired."""
    folder.mkdir(parents=True, exist_ok=True)
    out = _file(part.name, folder)
    out.unlink(missing_ok=True)
    began = time.perf_counter()
    done = subprocess.run(
        _python(*part.command, "--out", str(out)),
        capture_output=True,
        text=True,
        check=False,
        timeout=part.most_seconds,
    )
    out.with_suffix(".log").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode or not out.exists():
        raise RuntimeError((done.stdout + done.stderr).strip()[-TAIL_CHARACTERS:])
    console.print(f"    {time.perf_counter() - began:.0f} s")
    return json.loads(out.read_text(encoding="utf-8"))


def _with_earlier(found: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return what was found now, and by earlier runs what was not asked for in this one."""
    files = {part.name: _file(part.name, options.out) for part in parts_of(options) if part.name not in found}
    earlier = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items() if path.exists()}
    return earlier | found


def _file(part: str, folder: Path) -> Path:
    return folder / f"gpu_{part}.json"


def _python(module: str, *arguments: str) -> Sequence[str]:
    return (sys.executable, "-W", "ignore", "-m", f"benchmarks.{module}", *arguments)


def _keep(options: argparse.Namespace, rows: dict[str, Row]) -> None:
    """Write what there is so far: a run that is cut off has not measured for nothing."""
    kept = {
        "device": _device(options),
        "command": shlex.join(["python", "-m", "benchmarks.gpu", *_told()]),
        "commit": options.commit or _commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "rows": {name: row.fields() for name, row in rows.items()},
    }
    (options.out / "gpu.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _told() -> Iterator[str]:
    """Give the options, of paths the names alone."""
    yield from (Path(each).name if "/" in each else each for each in sys.argv[1:])


def _device(options: argparse.Namespace) -> str:
    return torch.cuda.get_device_name() if options.device.startswith("cuda") else platform.machine()


def _commit() -> str:
    asked = ["git", "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _print(rows: dict[str, Row], *, device: str) -> None:
    table = Table(title=f"greenroom on {device}", title_justify="left")
    for column in ("what", "measured", "spread", "reach", "everything off", "upstream", ""):
        table.add_column(column, justify="left" if column in ("what", "reach", "spread") else "right")
    for name, row in rows.items():
        mark = "[green]met[/green]" if row.is_met else "[red]missed[/red]"
        bound = f"≤ {row.most:g}" if row.most_counts else f"≥ {row.least:g}"
        beside = ("" if each is None else row.shown(each) for each in (row.plain, row.peer))
        table.add_row(name, row.shown(row.value), row.spread, bound, *beside, mark)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
