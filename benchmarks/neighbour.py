"""`make bench-neighbour`: the daemon on a GPU, between a service that speaks and a neighbour that wants all memory.

    python -m benchmarks.neighbour --out neighbour.json    on the first GPU, in less than four minutes
    python -m benchmarks.neighbour --device cpu            the same way to its end without a GPU; means nothing

Sections: *sampler* (what a reading takes, and that it leaves no trace on the GPU), *neighbour* (a hog takes memory in
steps while somebody listens), *idle* (what the daemon costs). One that fails says why, and costs the others nothing.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.neighbour_findings import journal_evictions, reactions, underruns_of
from benchmarks.neighbour_machines import MB, Child, Machine
from benchmarks.neighbour_rounds import Plan, Rounds, kept_steps
from benchmarks.neighbour_rows import rows_of
from benchmarks.process_cost import idle_cost
from benchmarks.spread import spread_of
from tests.fakes.driver_traces import driver_traces
from tools.process import end_on_signals

PERIOD_SECONDS: Final = 0.1
SPOKEN_FIRST_SECONDS: Final = 6.0
"""The first utterances capture graphs and grow what they need."""

NO_DEVICE: Final = ""
HANG: Final = "skipped: a driver is not made to hang on real hardware; tests do that with a library of ours"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections, print the rows and keep them; 1 if a section failed or a row is missed."""
    options = _options(arguments)
    began = time.monotonic()
    kept: dict[str, Any] = _head(options, arguments)
    if kept["device"] == NO_DEVICE:
        print("no GPU can be read: --device cpu rehearses the same")
        return 1
    place = Path(tempfile.mkdtemp(prefix="greenroom-neighbour-"))
    failed = []
    try:
        for name, section in (("sampler", sampler), ("neighbour", neighbour)):
            print(f"{name}:", flush=True)
            try:
                kept |= section(options, place)
            except Exception:  # noqa: BLE001 - told, and the next section begins.
                traceback.print_exc(file=sys.stdout)
                failed.append(name)
            _keep(options.out, kept)
            print(f"{time.monotonic() - began:.0f} s so far", flush=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    missed = _print_rows(kept)
    print(f"failed: {', '.join(failed) or 'none'}; missed: {', '.join(missed) or 'none'}", flush=True)
    return 1 if failed or missed else 0


def sampler(options: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Read a GPU as the daemon does, in a process that does nothing else."""
    environment = {**os.environ, **_told_gpu(options, place / "sampler")}
    witness = Child("tests.fakes.nvml_probe", environment=environment)
    try:
        devices = witness.ask("devices")
        device = devices[0]
        before = {"free": witness.ask(f"sample {device}")["free"], "processes": witness.ask(f"processes {device}")}
        reader = Child("tests.fakes.nvml_probe", environment=environment)
        try:
            times = reader.ask(f"times {device}")
            found = {
                "devices": devices,
                "instances": [each for each in devices if each.startswith("MIG-")],
                "memory_info_v2": reader.ask(f"v2 {device}"),
                "reading_us": _microseconds(times["reading"]),
                "reading_with_thread_us": _microseconds(times["patient"]),
                "traces": driver_traces(reader.pid),
                "bare": _bare(environment),
                "processes_before": before["processes"],
                "processes": witness.ask(f"processes {device}"),
                "grown_bytes": before["free"] - witness.ask(f"sample {device}")["free"],
                "events": reader.ask("events"),
            }
            found["is_listed"] = reader.pid in [pid for pid, _ in found["processes"]]
        finally:
            reader.close()
    finally:
        witness.close()
    for name, value in found.items():
        print(f"  {name}: {value}", flush=True)
    return {"sampler": found}


def _bare(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what is of the driver in a process that only begins NVML, and what it weighs."""
    bare = Child("benchmarks.bare_nvml", environment=environment)
    try:
        return dict(bare.ask("told")) | driver_traces(bare.pid)
    finally:
        bare.close()


def _told_gpu(options: argparse.Namespace, folder: Path) -> dict[str, str]:
    if options.device == "cuda":
        return {}
    from benchmarks.neighbour_booked import probe_environment  # noqa: PLC0415 - the fakes are for rehearsals alone.

    return probe_environment(folder)


def neighbour(options: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Let the hog loose on a service that speaks; then let it rest, and see what the daemon costs."""
    plan = _plan(options)
    kept: dict[str, Any] = {"plan": asdict(plan) | {"interval_seconds": plan.interval_seconds}}
    with _machine(options, place, plan) as machine:
        machine.speaker.start()
        time.sleep(SPOKEN_FIRST_SECONDS if options.device == "cuda" else 0.5)
        rounds = Rounds(machine, plan)
        home_bytes = {each.module: each.home_bytes for each in machine.report().modules}
        print(f"  modules, MB: { {name: size // MB for name, size in home_bytes.items()} }", flush=True)
        try:
            for number in range(options.rounds):
                _tried(kept, f"low {number}", rounds.low)
                _tried(kept, f"spare {number}", rounds.spare)
                _tried(kept, f"march {number}", rounds.march)
        finally:
            machine.hog.free_all()
            machine.speaker.stop()
        _tried(kept, "findings", lambda: kept.update(_seen(machine, rounds, plan, home_bytes)))
        if options.out is not None:
            _tried(kept, "plot", lambda: _draw(options.out.with_suffix(".png"), plan, machine, rounds))
        print("idle:", flush=True)
        idle: dict[str, Any] = dict(idle_cost(machine.daemon_pid, options.idle_seconds))
        idle |= {"traces": driver_traces(machine.daemon_pid), "processes": machine.processes()}
        idle["daemon_is_listed"] = machine.daemon_pid in [pid for pid, _ in idle["processes"]]
        print(f"  {idle}", flush=True)
    return {"neighbour": kept, "idle": idle, "hang": HANG}


def _machine(options: argparse.Namespace, place: Path, plan: Plan) -> AbstractContextManager[Machine]:
    """Return the machine: a rehearsal needs no models, a GPU no tests, and each would have to be installed."""
    numbers = {
        "CRITICAL": plan.critical_bytes,
        "LOW": plan.low_bytes,
        "HIGH": plan.high_bytes,
        "GRACE_SECONDS": plan.grace_seconds,
        "MINIMUM_PERIOD_SECONDS": plan.period_seconds,
        "COOL_DOWN_SECONDS": 0.1,
        "MINIMUM_RESIDENCE_SECONDS": 0.1,
        "MINIMUM_ABSENCE_SECONDS": 0.1,
    }
    environment = {f"GREENROOM_DAEMON_POLICY__{name}": f"{value}" for name, value in numbers.items()}
    if options.device == "cpu":
        from benchmarks.neighbour_booked import booked_machine  # noqa: PLC0415 - the fakes are for rehearsals alone.

        return booked_machine(place / "neighbour", environment)
    from benchmarks.neighbour_served import served_machine  # noqa: PLC0415 - it imports torch, which the rehearsal spares.

    return served_machine(place / "neighbour", options.cache, environment)


def _tried(kept: dict[str, Any], name: str, run: Callable[[], None]) -> None:
    """Run a round, or what else may fail for itself; it is told, and what comes after it begins."""
    try:
        run()
    except Exception:  # noqa: BLE001 - told and kept; the rounds that went well count.
        traceback.print_exc(file=sys.stdout)
        kept.setdefault("broken", {})[name] = traceback.format_exc()


def _draw(path: Path, plan: Plan, machine: Machine, rounds: Rounds) -> None:
    from benchmarks.neighbour_plot import draw  # noqa: PLC0415 - takes seconds, and only for a picture.

    orders = journal_evictions(machine.journal, machine.device)
    draw(path, plan, list(machine.watch.readings), rounds, orders)


def _seen(machine: Machine, rounds: Rounds, plan: Plan, home_bytes: dict[str, int]) -> dict[str, Any]:
    found = list(reactions(rounds, plan, machine, home_bytes))
    for each in found:
        took = "not seen" if each.milliseconds is None else f"{each.milliseconds:.1f} ms"
        print(f"  {each.pressure} ({each.part}): {took}, {', '.join(each.modules)}", flush=True)
    heard = underruns_of(machine.speaker.utterances, rounds.rounds)
    print(f"  heard: {heard}", flush=True)
    return {
        "rounds": rounds.rounds,
        "steps": kept_steps(rounds),
        "reactions": [asdict(each) for each in found],
        "heard": heard,
        "home_bytes": home_bytes,
    }


def _print_rows(kept: Mapping[str, Any]) -> list[str]:
    """Print the rows as a table; return the names of those that are missed."""
    rows = rows_of(kept)
    for name, row in rows.items():
        mark = "met" if row.is_met else "MISSED"
        bound = f"≤ {row.most:<8g}" if row.most is not None else f"≥ {row.least:<8g}"
        print(f"{name:<28}{row.shown(row.value):>14}  {bound}{mark:<8}{row.spread}")
    return [name for name, row in rows.items() if not row.is_met]


def _microseconds(values: Sequence[float]) -> dict[str, float]:
    spread = spread_of([each / 1000 for each in values])
    return {name: round(value, 2) for name, value in asdict(spread).items()}


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        critical_bytes=options.critical_mb * MB,
        low_bytes=options.low_mb * MB,
        high_bytes=options.high_mb * MB,
        step_bytes=int(options.step_share * options.critical_mb * MB),
        period_seconds=PERIOD_SECONDS,
        grace_seconds=options.grace_seconds,
        patient=options.device == "cpu",
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rounds", type=int, default=3, help="of each kind")
    parser.add_argument("--critical-mb", type=int, default=300)
    parser.add_argument("--low-mb", type=int, default=450)
    parser.add_argument("--high-mb", type=int, default=700)
    parser.add_argument("--step-share", type=float, default=0.9, help="a step, as a share of critical")
    parser.add_argument("--grace-seconds", type=float, default=1.0)
    parser.add_argument("--idle-seconds", type=float, default=20.0)
    parser.add_argument("--cache", type=Path, help="folder for the weights, the user's cache if there is none")
    parser.add_argument("--commit", default="", help="what is measured, where there is no repository")
    parser.add_argument("--out", type=Path, help="file for the figures (JSON); the plot lies beside it")
    return parser.parse_args(arguments)


def _head(options: argparse.Namespace, arguments: Sequence[str] | None) -> dict[str, Any]:
    told = [Path(each).name if "/" in each else each for each in (sys.argv[1:] if arguments is None else arguments)]
    return {
        "device": _device(options.device),
        "command": shlex.join(["python", "-m", "benchmarks.neighbour", *told]),
        "commit": options.commit or _commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def _device(kind: str) -> str:
    """Return the GPU's name, without making a context there."""
    if kind == "cpu":
        return f"{platform.machine()}, a rehearsal"
    import pynvml  # noqa: PLC0415 - only where there is a GPU.

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0)))
    except pynvml.NVMLError as error:
        print(f"NVML: {error}")
        return NO_DEVICE


def _commit() -> str:
    asked = ["git", "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _keep(out: Path | None, kept: dict[str, Any]) -> None:
    """Write what there is so far: a run that is cut off has not measured for nothing."""
    kept["rows"] = {row: each.fields() for row, each in rows_of(kept).items()}
    if out is not None:
        out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    end_on_signals()
    sys.exit(main())
