"""What a process costs while it has nothing to do."""

import time
from dataclasses import dataclass
from pathlib import Path

IDLE_SECONDS = 60.0
"""Long enough that what others do on the machine meanwhile evens out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadUse:
    """What a thread has taken so far: time on a core, and how often it woke of its own accord."""

    cpu_seconds: float
    wakings: int


def idle_cost(process: int, seconds: float = IDLE_SECONDS) -> dict[str, float]:
    """Return what a process takes while nothing happens: share of a core in percent, wakings a second, resident MiB.

    The time is the scheduler's, in nanoseconds: ticks of 10 ms are a tenth of what an idle daemon takes in 20 s.
    """
    before, begun = _thread_uses(process), time.monotonic()
    time.sleep(seconds)
    after, passed_seconds = _thread_uses(process), time.monotonic() - begun
    nothing = ThreadUse(cpu_seconds=0.0, wakings=0)
    pairs = [(before.get(thread, nothing), use) for thread, use in after.items()]
    share = sum(late.cpu_seconds - early.cpu_seconds for early, late in pairs) / passed_seconds
    wakings = sum(late.wakings - early.wakings for early, late in pairs) / passed_seconds
    resident_kib = int(_status(Path(f"/proc/{process}"))["VmRSS"].split()[0])
    return {
        "core_percent": round(100 * share, 2),
        "wakings_per_second": round(wakings, 1),
        "resident_mib": round(resident_kib / 1024, 1),
    }


def _thread_uses(process: int) -> dict[str, ThreadUse]:
    return {task.name: _use_of(task) for task in Path(f"/proc/{process}/task").iterdir()}


def _use_of(task: Path) -> ThreadUse:
    nanoseconds = int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return ThreadUse(cpu_seconds=nanoseconds / 1e9, wakings=int(_status(task)["voluntary_ctxt_switches"]))


def _status(task: Path) -> dict[str, str]:
    lines = (task / "status").read_text(encoding="ascii").splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines)}
