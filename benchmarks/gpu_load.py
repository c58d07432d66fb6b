"""The rows of many voices on a GPU, in less than nine minutes: `benchmarks/results/load.json`.

    python -m benchmarks.gpu_load                                  all parts, full size on the GPU
    python -m benchmarks.gpu_load --only sessions-english --proof-seconds 120
    python -m benchmarks.gpu_load --size tiny --quick              the same way to its end on a CPU

Each part is measured by `benchmarks.load` against the shipped service, started here on synthetic weights that do not
stop by themselves: every segment takes as long as the load's sentences take on average when they are read aloud. What
several sessions compute at once is prepared at the start (`together = at_start`). How many sessions stay in real time
is looked for with short runs, each larger than the one before, and then proved by a long run with what worked; one that
fails is followed by a smaller one while there is time.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console

from benchmarks.cached_weights import CACHE, cached_folder, synthetic_source
from benchmarks.gpu_rows import Row
from benchmarks.load import measures, report
from benchmarks.load.bisection import Search
from benchmarks.load.capacity import Probe, probed, steady
from benchmarks.load.load_run import Plan, Ran
from benchmarks.load.manner import Manner
from benchmarks.load.measures import Desk, Measured, spoken_by
from benchmarks.load.rows import about, family, merge, row
from benchmarks.load.run_end import RunEnd
from benchmarks.load.sentences import SENTENCES
from benchmarks.load.served import Asked, Served, served
from benchmarks.load.tally import Tally
from benchmarks.long_weights import long_folder
from tools.process import end_on_signals
from tts_service.config import TogetherChoice
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.speech.token_guards import usual_tokens

RESULTS: Final = Path(__file__).parent / "results" / "load.json"
LEDGER: Final[Mapping[str, tuple[ChatterboxModel | None, tuple[int, ...]]]] = {
    "sessions-english": (ChatterboxModel.ENGLISH, (48, 64, 80, 96, 128)),
    "first-audio": (ChatterboxModel.ENGLISH, ()),
    "throughput": (ChatterboxModel.ENGLISH, ()),
    "rejects": (ChatterboxModel.ENGLISH, ()),
    "sessions-turbo": (ChatterboxModel.TURBO, (128, 200, 256)),
    "chunks": (None, ()),
}
"""Parts in their order: the model that is asked, and how many sessions are tried one after the other."""

QUICK_STEPS: Final = (1, 2)
SEGMENT_TOKENS: Final = round(sum(map(usual_tokens, SENTENCES)) / len(SENTENCES))
"""Of every segment: 4.2 s."""
QUICK_TOKENS: Final = 12
HELD_PER_SECOND: Final = 10.0
"""Sessions that come in, in the beginning of a run, until as many are there as are held."""
LEAST_SHARE: Final = 0.85
"""Of the sessions that failed to stay in real time over a long run, so many are tried next."""

console = Console(highlight=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Seconds of each kind of run, and when all of it must be over."""

    probe_seconds: float
    proof_seconds: float
    run_seconds: float
    over_at: float
    quick: bool

    @property
    def left_seconds(self) -> float:
        """What is left."""
        return self.over_at - time.monotonic()


async def sessions(desk: Desk, service: Served, budget: Budget, steps: tuple[int, ...]) -> Measured:
    """Find and prove how many sessions stay in real time."""
    plan = replace(desk.plan, manner=steady(desk.plan.manner))
    probes: list[Probe] = []

    async def tried(number: int, seconds: float) -> bool:
        within = number / HELD_PER_SECOND
        asked = replace(plan, sessions=number, seconds=seconds + within, within_seconds=within)
        probe = await probed(service, asked, desk.tell)
        probes.append(probe)
        desk.told_probe(probe)
        console.print(report.run_table(f"{number} sessions", probe.ran))
        return probe.works

    worked = 0
    for number in steps:
        if not await tried(number, budget.probe_seconds):
            break
        worked = number
    proved, number = 0, worked or int(LEAST_SHARE * steps[0])
    while number and budget.left_seconds > budget.proof_seconds + number / HELD_PER_SECOND and not proved:
        if await tried(number, budget.proof_seconds):
            proved = number
        else:
            number = int(LEAST_SHARE * number)
    if not proved:
        # No row: 0 would be what was found.
        console.print(f"nothing was proved: {worked} for {budget.probe_seconds:g} s, and no time is left")
        return {}, {"probes": [probe.fields() for probe in probes]}
    words = f"{budget.proof_seconds:g} s without an underrun; {worked} for {budget.probe_seconds:g} s"
    rows = dict([row(f"sessions_{family(service.model)}", proved, words)])
    return rows, {"probes": [probe.fields() for probe in probes]}


async def on_one_service(desk: Desk, names: list[str], budget: Budget, steps: tuple[int, ...], keep: "Kept") -> None:
    """Measure what one service can answer in one start; what one part fails with, the next do not suffer from."""
    plain: Mapping[str, Callable[[Desk, Served], Awaitable[Measured]]] = measures.ON_ONE_SERVICE
    async with served(desk.asked) as service:
        for name in names:
            spoken = spoken_by(desk, service)
            short = replace(spoken, plan=replace(spoken.plan, seconds=budget.run_seconds))
            with keep.part(name, service.model):
                found = plain[name](short, service) if name in plain else sessions(spoken, service, budget, steps)
                keep.take(name, await found)


async def measure(options: argparse.Namespace, budget: Budget, kept: "Kept") -> None:
    """Take all measurements that are asked for."""
    for model in (ChatterboxModel.ENGLISH, ChatterboxModel.TURBO):
        names = [name for name in options.only if LEDGER[name][0] is model and name != "rejects"]
        if names:
            steps = next((LEDGER[name][1] for name in names if LEDGER[name][1]), ())
            desk = _desk(options, model, budget)
            with kept.part(", ".join(names), model.value):
                chosen = options.steps or (QUICK_STEPS if budget.quick else steps)
                await on_one_service(desk, names, budget, chosen, kept)
    if "rejects" in options.only:
        desk = _desk(options, ChatterboxModel.ENGLISH, budget)
        places = 2 if budget.quick else measures.PLACES
        with kept.part("rejects", ChatterboxModel.ENGLISH.value):
            async with served(replace(desk.asked, sessions_most=places)) as service:
                kept.take("rejects", await measures.rejects(spoken_by(desk, service), service, places))
    if "chunks" in options.only:
        with kept.part("chunks", ""):
            kept.take("chunks", await measures.chunks(_desk(options, ChatterboxModel.ENGLISH, budget)))


class Kept:
    """What was measured so far, kept as soon as it is there; parts that failed are told and counted."""

    def __init__(self, rows_path: Path | None, left_seconds: Callable[[], float]) -> None:
        self.rows: dict[str, Row] = {}
        self.found: dict[str, Any] = {}
        self.failed: list[str] = []
        self._rows_path = rows_path
        self._left_seconds = left_seconds
        self._model = ""

    @contextmanager
    def part(self, name: str, model: str) -> Iterator[None]:
        """Take one part in a block; what goes wrong in it is told, and others are taken."""
        before, self._model = self._model, model
        try:
            yield
        except Exception as error:  # noqa: BLE001  # Whatever it is, what others measure is worth something.
            self.failed.append(name)
            console.print(f"[red]{name} failed: {type(error).__name__}: {error}[/]")
        finally:
            self._model = before

    def take(self, name: str, taken: Measured) -> None:
        """Keep what a part has measured."""
        self.rows.update(taken[0])
        self.found[name] = taken[1]
        if self._rows_path is not None:
            command = " ".join(["python -m benchmarks.gpu_load", *sys.argv[1:]])
            merge(self._rows_path, taken[0], about(command, self._model))
        console.print(report.rows_table(taken[0]), f"{self._left_seconds():.0f} s left")

    def __repr__(self) -> str:
        return f"<Kept {len(self.rows)} rows, {len(self.failed)} parts failed>"


def _desk(options: argparse.Namespace, model: ChatterboxModel, budget: Budget) -> Desk:
    folder = long_folder(cached_folder(synthetic_source(options.size), model, options.cache), model)
    env = {
        "GREENROOM_SERVICE_ADMISSION__BULK_SESSIONS": str(measures.BESIDE),
        "GREENROOM_SERVICE_TOGETHER": TogetherChoice.AT_START.value,
    }
    if not options.admission:
        env["GREENROOM_SERVICE_ADMISSION__BY_COST"] = "false"
    if options.trace is not None:
        env["GREENROOM_SERVICE_TRACE_FILE"] = str(options.trace.with_name(f"{model.value}-{options.trace.name}"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    manner = Manner(max_segment_tokens=SEGMENT_TOKENS)
    if budget.quick:
        manner = replace(manner, words=3.0, max_segment_tokens=QUICK_TOKENS)
    return Desk(
        asked=Asked(model=model.value, weights=str(folder), device=device, service_env=env),
        plan=Plan(seconds=budget.run_seconds, manner=manner, readers=2 if budget.quick else 0),
        search=Search(first=1, most=1),
        tell=_tell,
        told_probe=lambda probe: console.print(report.probe_line(probe)),
        told_run=_told_run,
        beside=2 if budget.quick else measures.BESIDE,
    )


def _tell(tally: Tally, run_end: RunEnd) -> None:
    """Say nothing while it runs: drawing takes time from the loop that measures."""


def _told_run(name: str, ran: Ran) -> None:
    console.print(report.run_table(name, ran))


def _names(said: str) -> tuple[str, ...]:
    chosen = tuple(said.split(","))
    unknown = set(chosen) - set(LEDGER)
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: choose from {', '.join(LEDGER)}")
    return chosen


def main() -> int:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    has_gpu = torch.cuda.is_available()
    parser.add_argument("--only", type=_names, default=tuple(LEDGER), metavar="PARTS", help=", ".join(LEDGER))
    parser.add_argument("--size", type=NetworkSize, default=NetworkSize.FULL if has_gpu else NetworkSize.TINY)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--quick", action="store_true", help="a few sessions for a few seconds, to see that it runs")
    parser.add_argument("--steps", type=lambda said: tuple(map(int, said.split(","))), help="sessions to be tried")
    parser.add_argument("--probe-seconds", type=float, default=15.0)
    parser.add_argument("--proof-seconds", type=float, default=120.0)
    parser.add_argument("--run-seconds", type=float, default=20.0, help="of every other run")
    parser.add_argument("--within-seconds", type=float, default=540.0, help="after which nothing long is begun")
    parser.add_argument("--no-admission", dest="admission", action="store_false", help="let all in, to see what breaks")
    parser.add_argument("--trace", type=Path, help="a file for what the services did")
    parser.add_argument("--rows", type=Path, help=f"a file whose rows are renewed, such as {RESULTS.name}")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    options = parser.parse_args()
    quick = 4.0 if options.quick else None
    budget = Budget(
        probe_seconds=quick or options.probe_seconds,
        proof_seconds=quick or options.proof_seconds,
        run_seconds=quick or options.run_seconds,
        over_at=time.monotonic() + options.within_seconds,
        quick=options.quick,
    )
    if options.quick and options.rows is not None:
        parser.error("--quick measures nothing that --rows could keep")
    end_on_signals()
    kept = Kept(options.rows, lambda: budget.left_seconds)
    asyncio.run(measure(options, budget, kept))
    console.print(report.rows_table(kept.rows))
    if options.json is not None:
        options.json.write_text(json.dumps(kept.found, indent=1) + "\n")
    return 1 if kept.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
