"""What the service's processes take of this machine, read every second by their number."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import psutil

from benchmarks.load.trend import slope

MIB: Final = 1 << 20
PERIOD_SECONDS: Final = 1.0
READINGS_MOST: Final = 2_000
LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What processes hold together at one moment."""

    processes: int
    threads: int
    files: int
    sockets: int
    resident_mib: float


def held(root: psutil.Process) -> Held:
    """Return what a process and its children hold; one that ends meanwhile holds nothing."""
    processes = threads = files = sockets = resident_bytes = 0
    for each in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            threads += each.num_threads()
            files += each.num_fds()
            sockets += len(each.net_connections(kind="all"))
            resident_bytes += each.memory_info().rss
            processes += 1
    return Held(processes=processes, threads=threads, files=files, sockets=sockets, resident_mib=resident_bytes / MIB)


class ProcessWatch:
    """Readings of a process and its children over a run."""

    def __init__(self, pid: int) -> None:
        self.root = psutil.Process(pid)
        self.readings: list[tuple[float, float]] = []
        self.peak_mib = 0.0
        self.cores = 0.0
        self._own = psutil.Process()
        self.own_cores = 0.0

    def __repr__(self) -> str:
        return f"<ProcessWatch {self.root.pid} | {self.cores:.2f} cores, {self.peak_mib:.0f} MiB at most>"

    async def run(self) -> None:
        """Read until cancelled."""
        began, cpu, own = time.monotonic(), self._cpu_seconds(), _cpu_seconds(self._own)
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            try:
                resident_mib = await asyncio.to_thread(self._resident_mib)
                now, used = time.monotonic(), self._cpu_seconds()
            except psutil.NoSuchProcess:
                return
            self.peak_mib = max(self.peak_mib, resident_mib)
            self.cores = (used - cpu) / (now - began)
            self.own_cores = (_cpu_seconds(self._own) - own) / (now - began)
            if len(self.readings) < READINGS_MOST:
                self.readings.append((now - began, resident_mib))

    def growth_mib_per_minute(self) -> float:
        """Return by how much the resident set grew in the second half of the run."""
        return 60.0 * slope(self.readings[len(self.readings) // 2 :])

    def fields(self) -> dict[str, Any]:
        """Return the figures, for JSON."""
        return {
            "service_cores": round(self.cores, 3),
            "load_tool_cores": round(self.own_cores, 3),
            "peak_resident_mib": round(self.peak_mib, 1),
            "growth_mib_per_minute": round(self.growth_mib_per_minute(), 2),
            "resident_mib": [[round(at, 1), round(mib, 1)] for at, mib in self.readings],
            "at_the_end": asdict(held(self.root)) if self.root.is_running() else None,
        }

    def _resident_mib(self) -> float:
        return held_bytes(self.root) / MIB

    def _cpu_seconds(self) -> float:
        total = _cpu_seconds(self.root)
        for each in self.root.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += _cpu_seconds(each)
        return total


def held_bytes(root: psutil.Process) -> int:
    """Return the resident sets of a process and its children."""
    total = root.memory_info().rss
    for each in root.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += each.memory_info().rss
    return int(total)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def watch_loop(note: Callable[[float], None]) -> None:
    """Tell how late this process's own event loop is, until cancelled: a load tool that is busy measures itself."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(LOOK_SECONDS)
        note(max(0.0, time.monotonic() - began - LOOK_SECONDS))
