"""`make bench`: measures what the service promises on a CPU, prints a table, keeps it with a plot in `results/`.

Everything runs against the shipped processes over real sockets. Times are medians and percentiles of one run on one
machine; compare them within a run, not between machines.
"""

import argparse
import asyncio
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import bare_grpc, endurance, interruption, paced_sessions
from benchmarks.intelligibility import TRANSCRIPT, word_error_rate
from benchmarks.memory_plot import draw
from benchmarks.speaking import (
    Figures,
    first_audio_of_new_session_seconds,
    first_audio_seconds,
    stub_of,
    whole_text,
)
from greenroom.memory.v1 import residency_pb2
from tools.both import Both
from tools.process import end_on_signals

RESULTS = Path(__file__).with_name("results")
DEMO_TEXT = Path("clients/demo.txt").read_text()
console = Console()


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions, for a first look")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for cpu.json and cpu_memory.png")
    options = parser.parse_args()
    end_on_signals()
    share = 0.1 if options.quick else 1.0
    with Progress(
        TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    ) as progress:
        measured = uvloop.run(_measure(share, progress))
    _print(measured["rows"])
    options.out.mkdir(exist_ok=True)
    draw(measured["memory"], options.out / "cpu_memory.png")
    kept = {**_about(), **measured}
    (options.out / "cpu.json").write_text(json.dumps(kept, indent=1) + "\n")
    console.print(f"kept in {options.out / 'cpu.json'} and {options.out / 'cpu_memory.png'}")
    return 0


async def _measure(share: float, progress: Progress) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="greenroom-bench-"))
    both = Both(folder, service_env={"GREENROOM_SERVICE_LIMITS__SESSIONS": "256"})
    rows: dict[str, Any] = {}
    try:
        both.service.start()
        await asyncio.to_thread(both.wait_serving)
        process = psutil.Process(both.service.pid)
        socket = f"unix:{both.control_socket}"
        async with stub_of(both.speech_address) as stub:
            rows["first_audio_resident"] = await _first_audio(stub, max(10, round(100 * share)), progress)
            rows["cancel"] = await _timed(
                "cancel", interruption.measure(stub, socket, max(10, round(100 * share))), progress
            )
            rows["intelligibility"] = await _demo_errors(stub)
            memory = await _endure(stub, both, process, share, progress)
            rows["first_audio_from_disk"] = await _first_audio_from_disk(
                stub, both, max(5, round(30 * share)), progress
            )
        rows["memory"] = _flatness(memory)
        rows["moves"] = memory.pop("moves")
    finally:
        both.stop()
        shutil.rmtree(folder, ignore_errors=True)
    rows["paced_sessions"] = await _timed("50 paced sessions", paced_sessions.measure(50, 10.0), progress)
    rows["bare_grpc"] = await _timed("50 streams of bare gRPC", bare_grpc.measure(50, 10.0), progress)
    return {"rows": rows, "memory": memory}


async def _timed(name: str, work: Any, progress: Progress) -> Any:
    task = progress.add_task(name, total=1)
    result = await work
    progress.advance(task)
    return result


async def _first_audio(stub: Any, count: int, progress: Progress) -> dict[str, Any]:
    task = progress.add_task("first audio, resident", total=count)
    await first_audio_seconds(stub)
    seconds = []
    for _ in range(count):
        seconds.append(await first_audio_seconds(stub))
        progress.advance(task)
    return Figures.of_seconds(seconds).fields()


async def _first_audio_from_disk(stub: Any, both: Both, count: int, progress: Progress) -> dict[str, Any]:
    task = progress.add_task("first audio, all on disk", total=count)
    seconds = []
    for _ in range(count):
        await asyncio.to_thread(both.place_all, "disk")
        await asyncio.to_thread(both.place_all, None)
        if any(m.tier != residency_pb2.TIER_DISK for m in both.residency().modules):
            raise RuntimeError("a module came back from disk before anybody called it")
        seconds.append(await first_audio_of_new_session_seconds(stub))
        progress.advance(task)
    return Figures.of_seconds(seconds).fields()


async def _demo_errors(stub: Any) -> dict[str, Any]:
    samples = np.frombuffer(await whole_text(stub, DEMO_TEXT, seed=7), np.int16)
    return await asyncio.to_thread(word_error_rate, samples, 24_000, TRANSCRIPT.read_text())


async def _endure(stub: Any, both: Both, process: psutil.Process, share: float, progress: Progress) -> dict[str, Any]:
    utterances, cycles = round(1_000 * share), round(500 * share)

    def resident_bytes() -> int:
        return int(process.memory_info().rss)

    speaking = progress.add_task("utterances", total=utterances)
    sizes = await endurance.utterances(stub, resident_bytes, utterances, lambda n: progress.advance(speaking, n))
    moving = progress.add_task("evict and restore cycles", total=cycles)
    socket = f"unix:{both.control_socket}"
    moved = await endurance.cycles(stub, socket, resident_bytes, cycles, lambda n: progress.advance(moving, n))
    return {"utterance_bytes": sizes, "utterances_per_size": 10, **moved}


def _flatness(memory: dict[str, Any]) -> dict[str, Any]:
    settled = min(endurance.SETTLED_FROM, len(memory["home_bytes"]) // 4)
    released = [home - away for home, away in zip(memory["home_bytes"], memory["away_bytes"], strict=True)][settled:]
    return {
        "utterances": len(memory["utterance_bytes"]) * memory["utterances_per_size"],
        "cycles": len(memory["home_bytes"]),
        "utterances_bytes": endurance.tenths(memory["utterance_bytes"]),
        "home_bytes": endurance.tenths(memory["home_bytes"]),
        "away_bytes": endurance.tenths(memory["away_bytes"]),
        "utterances_growth_percent": endurance.growth_percent(memory["utterance_bytes"], settled // 10),
        "cycles_growth_percent": endurance.growth_percent(memory["home_bytes"], settled),
        "released_of_measured": round(sum(released) / len(released) / memory["measured_bytes"], 3),
        "changed_recordings": memory["changed_recordings"],
    }


def _about() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607  # git from PATH.
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "command": "make bench",
        "commit": commit,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB",
        "python": platform.python_version(),
    }


def _print(rows: dict[str, Any]) -> None:
    table = Table(title="greenroom on a CPU", title_justify="left")
    for column in ("what", "measured", "reach"):
        table.add_column(column)
    resident, disk = rows["first_audio_resident"], rows["first_audio_from_disk"]
    paced, cancel, memory = rows["paced_sessions"], rows["cancel"], rows["memory"]
    table.add_row("first audio, ten words, resident, p50", f"{resident['p50_ms']:.0f} ms", "≤ 150 ms")
    table.add_row("first audio of a new session, all on disk, p50", f"{disk['p50_ms']:.0f} ms", "≤ 400 ms")
    bare = rows["bare_grpc"]
    table.add_row("a chunk of 50 paced sessions, from due to heard", _chunk(paced), "p99 ≤ 1 ms")
    table.add_row("  the same by timers and gRPC alone", _chunk(bare["since_due"]), "")
    table.add_row("  from written to heard", _chunk(paced["since_written"]), "")
    table.add_row("  the same by gRPC alone", _chunk(bare["since_written"]), "")
    table.add_row("  share of the chunks that this counts", f"{paced['counted_share_of_chunks']:.0%}", "after 1 s")
    table.add_row("cancel acknowledged, p50 / max", f"{cancel['p50_ms']:.1f} / {cancel['max_ms']:.1f} ms", "≤ 20 ms")
    table.add_row("chunks after a cancel", str(cancel["chunks_after_the_cancel"]), "0")
    table.add_row("steps of the voice begun after a cancel", str(cancel["steps_after_the_cancel"]), "0")
    stopped = f"{cancel['stopped_p50_ms']:.1f} / {cancel['stopped_max_ms']:.1f} ms"
    table.add_row("no lease and no claim after a cancel, p50 / max", stopped, "≤ 20 ms and the step under way")
    utterances, cycles = memory["utterances"], memory["cycles"]
    table.add_row(f"memory over {utterances:,} utterances", f"{memory['utterances_growth_percent']:+.2f} %", "flat")
    table.add_row("  MiB, every tenth of them", _mib(memory["utterances_bytes"]), "")
    table.add_row(f"memory over {cycles:,} evict/restore cycles", f"{memory['cycles_growth_percent']:+.2f} %", "flat")
    table.add_row("  MiB at home, every tenth of them", _mib(memory["home_bytes"]), "")
    table.add_row("  MiB on disk, every tenth of them", _mib(memory["away_bytes"]), "")
    table.add_row("memory given back of what was measured", f"{memory['released_of_measured']:.2f}", "1")
    table.add_row("recordings that changed by moves", str(memory["changed_recordings"]), "0")
    table.add_row("demo's word error rate", f"{rows['intelligibility']['word_error_rate']:.3f}", "printed")
    console.print(table)


def _chunk(figures: dict[str, Any]) -> str:
    return "p50 {p50_ms:.2f}, p95 {p95_ms:.2f}, p99 {p99_ms:.2f} ms".format_map(figures)


def _mib(sizes: list[int]) -> str:
    return " ".join(str(size >> 20) for size in sizes)


if __name__ == "__main__":
    sys.exit(main())
