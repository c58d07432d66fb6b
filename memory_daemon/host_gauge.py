"""Reads host memory beside a GPU: what is free, and for how long processes wait for it (pressure stall information).

The kernel tells the waiting as shares of the last ten seconds, for a cgroup in `memory.pressure` and for the machine in
`/proc/pressure/memory`: `some` while at least one process waits, `full` while all do. A kernel without it tells only
what is free. A reading that fails is none: nothing follows from it.
"""

from collections.abc import Callable
from pathlib import Path

import structlog

from memory_daemon.host_memory import UnreadableError, read_host_memory
from memory_daemon.usage import HostReading

MEMINFO = Path("/proc/meminfo")
STALL = Path("/proc/pressure/memory")
CGROUP_STALL = "memory.pressure"
READING_SECONDS = 1.0
"""The kernel renews its averages every two seconds."""

_log = structlog.get_logger(__name__)


class HostGauge:
    """The newest reading, no older than a second."""

    def __init__(
        self,
        *,
        cgroup_root: Path | None,
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
        meminfo: Path = MEMINFO,
        stall: Path = STALL,
    ) -> None:
        self._cgroup_root = cgroup_root
        self._clock = clock
        self._unix_clock = unix_clock
        self._meminfo = meminfo
        self._stall = stall
        self._read_seconds: float | None = None
        self._newest: HostReading | None = None
        self._trouble = ""

    def __repr__(self) -> str:
        return f"<HostGauge {self._cgroup_root or self._meminfo} {self._trouble or 'reads'}>"

    def read(self) -> HostReading | None:
        """Return host memory as it was within the last second; None while it cannot be read."""
        now_seconds = self._clock()
        if self._read_seconds is None or now_seconds - self._read_seconds >= READING_SECONDS:
            self._read_seconds = now_seconds
            self._newest = self._reading()
        return self._newest

    def _reading(self) -> HostReading | None:
        try:
            memory = read_host_memory(self._cgroup_root, self._meminfo)
        except UnreadableError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.warning("host_memory_unreadable", reason=self._trouble)
            return None
        self._trouble = ""
        some_percent, full_percent = self._stalls()
        return HostReading(
            unix_seconds=self._unix_clock(),
            total_bytes=memory.total_bytes,
            free_bytes=memory.free_bytes,
            some_percent=some_percent,
            full_percent=full_percent,
        )

    def _stalls(self) -> tuple[float | None, float | None]:
        """Return what the cgroup's file says, or the machine's; None for both where there is neither."""
        folders = () if self._cgroup_root is None else (self._cgroup_root / CGROUP_STALL,)
        for path in (*folders, self._stall):
            try:
                lines = path.read_text(encoding="ascii").splitlines()
            except (OSError, UnicodeDecodeError):
                continue
            shares = dict(found for line in lines if (found := stall_of(line)) is not None)
            return shares.get("some"), shares.get("full")
        return None, None


def stall_of(line: str) -> tuple[str, float] | None:
    """Return the kind and the share in percent that a line such as `some avg10=1.50 avg60=...` tells; None for none."""
    kind, *pairs = line.split() or [""]
    numbers = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    try:
        share_percent = float(numbers["avg10"])
    except (KeyError, ValueError):
        return None
    return (kind, share_percent) if 0 <= share_percent <= 100 else None  # noqa: PLR2004 - percent.
