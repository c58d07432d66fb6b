"""What a process costs while it has nothing to do."""

import os
import time
from pathlib import Path

IDLE_SECONDS = 20.0


def idle_cost(process: int, seconds: float = IDLE_SECONDS) -> dict[str, float]:
    """Return what a process takes while nothing happens: share of a core in percent, and resident MiB."""
    before, begun = _cpu_seconds(process), time.monotonic()
    time.sleep(seconds)
    share = (_cpu_seconds(process) - before) / (time.monotonic() - begun)
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    resident_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return {"core_percent": round(100 * share, 2), "resident_mib": round(resident_kib / 1024, 1)}


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
