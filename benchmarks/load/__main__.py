"""`python -m benchmarks.load`: one run, a search for the capacity, the rows of the issue, or a soak."""

import argparse
import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.gpu_rows import Row
from benchmarks.load import options as command
from benchmarks.load import report
from benchmarks.load.load_plot import draw
from benchmarks.load.load_run import Ran, run_load
from benchmarks.load.measures import Desk, measured, spoken_by
from benchmarks.load.rows import about, merge
from benchmarks.load.run_end import RunEnd
from benchmarks.load.served import served
from benchmarks.load.soak import Soaked, soak
from benchmarks.load.tally import Tally
from tools.process import end_on_signals

console = Console(highlight=False)


def main() -> int:
    """Run what the command line asks for; return 0 if nothing happened that must never be."""
    options = command.parser().parse_args()
    end_on_signals()
    with ExitStack() as stack:
        bar = stack.enter_context(Bar())
        desk = Desk(
            asked=command.asked_of(options),
            plan=command.plan_of(options),
            search=command.search_of(options),
            tell=bar.tell,
            told_probe=lambda probe: console.print(report.probe_line(probe)),
            told_run=lambda name, ran: console.print(report.run_table(name, ran)),
        )
        return uvloop.run(_run(options, desk, bar))


async def _run(options: argparse.Namespace, desk: Desk, bar: "Bar") -> int:
    if options.soak:
        return _tell_soak(options, await soak(desk.asked, desk.plan, options.squeeze, tell=bar.tell, phase=bar.begin))
    if options.find_capacity or options.measure:
        names = ["capacity"] if options.find_capacity else list(options.measure)
        rows, found = await measured(desk, names)
        _tell_rows(options, rows, found)
        return 0
    async with served(desk.asked) as service:
        ran = await run_load(service, spoken_by(desk, service).plan, tell=desk.tell)
    console.print(report.run_table("load", ran))
    _keep(options, _fields(ran), ran.tally)
    return 0 if ran.is_sound else 1


def _fields(ran: Ran) -> dict[str, Any]:
    comparisons = [asdict(each) for each in ran.comparisons]
    bulk = round(ran.bulk_times_real_time, 2)
    kept = {"bulk_times_real_time": bulk, "comparisons": comparisons, "processes": ran.processes}
    return {**ran.tally.fields(), **kept}


def _tell_soak(options: argparse.Namespace, soaked: Soaked) -> int:
    console.print(report.run_table("soak", soaked.ran))
    tally = soaked.ran.tally
    others = {**tally.counts, **soaked.squeezes}
    console.print(report.findings_table("what was done", sorted(others.items())))
    before, after = asdict(soaked.before), asdict(soaked.after)
    held = [(name, f"{_short(before[name])} before, {_short(after[name])} after") for name in before]
    console.print(report.findings_table("what the service holds with nobody there", held))
    _keep(options, soaked.fields(), tally)
    for each in soaked.wrong:
        console.print(f"[red]{each}[/]")
    verdict = "[red]the soak found something[/]" if soaked.wrong else "[green]nothing was lost, mixed up or left[/]"
    console.print(verdict)
    return 1 if soaked.wrong else 0


def _short(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _tell_rows(options: argparse.Namespace, rows: dict[str, Row], found: dict[str, Any]) -> None:
    console.print(report.rows_table(rows))
    if options.rows is not None:
        merge(options.rows, rows, about(_command(), str(found.get("model", ""))))
    if options.json is not None:
        _write(options.json, found)


def _keep(options: argparse.Namespace, fields: dict[str, Any], tally: Tally) -> None:
    if options.json is not None:
        _write(options.json, fields)
    if options.plot is not None:
        draw(tally.timeline.fields(), options.plot)


def _write(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=1) + "\n")
    console.print(f"kept in {path}")


def _command() -> str:
    return " ".join(["python -m benchmarks.load", *sys.argv[1:]])


class Bar:
    """A bar with live counts."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description:24}"), BarColumn(bar_width=24), TimeRemainingColumn())
        told = TextColumn("{task.fields[told]}")
        # Drawing takes milliseconds from the loop that measures: twice a second is enough.
        self._progress = Progress(*columns, told, console=console, transient=True, refresh_per_second=2)
        self._task = self._progress.add_task("starting", total=None, told="")
        self._phase = "load"

    def __repr__(self) -> str:
        return f"<Bar {self._phase}>"

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, phase: str) -> None:
        """Say what is done from now on."""
        self._phase = phase

    def tell(self, tally: Tally, run_end: RunEnd) -> None:
        """Show how a run stands."""
        first_ms = 1e3 * tally.first_audio.percentile(0.95)
        told = (
            f"{tally.open} open  {tally.counts['utterances']} utterances  {tally.underrun.count} underruns  "
            f"{tally.reject.count} rejects  first audio p95 {first_ms:.0f} ms"
        )
        elapsed = tally.elapsed()
        total = elapsed + max(0.0, run_end.left_seconds)
        self._progress.update(self._task, description=self._phase, completed=elapsed, total=total, told=told)


if __name__ == "__main__":
    sys.exit(main())
