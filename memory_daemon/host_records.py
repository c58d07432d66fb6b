"""What the journal says of host memory beside GPUs, so that what it was short of can be replayed."""

from dataclasses import dataclass
from typing import Literal

from memory_daemon.usage import HostReading

MOVED_SHARE = 0.01
"""Free host memory that moved by this share of the total is news."""
WAITED_PERCENT = 2.0
"""Waiting for it that changed by so much is news, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSampled:
    """Host memory beside GPUs, and for what share of time some process, or all, waited for it (None: nobody tells).

    `short`: so short that idle modules must give up theirs.
    """

    kind: Literal["host"] = "host"
    total_bytes: int
    free_bytes: int
    some_percent: float | None = None
    full_percent: float | None = None
    short: bool = False


def host_record(reading: HostReading, *, short: bool) -> HostSampled:
    """Return what the journal says of a reading."""
    return HostSampled(
        total_bytes=reading.total_bytes,
        free_bytes=reading.free_bytes,
        some_percent=reading.some_percent,
        full_percent=reading.full_percent,
        short=short,
    )


def host_differs(before: HostSampled, after: HostSampled) -> bool:
    """Tell whether a reading tells something beside the one before."""
    moved_bytes = abs(after.free_bytes - before.free_bytes)
    waits = ((before.some_percent, after.some_percent), (before.full_percent, after.full_percent))
    waited_percent = max(abs((now or 0.0) - (then or 0.0)) for then, now in waits)
    stands = (before.short, before.total_bytes) != (after.short, after.total_bytes)
    return stands or waited_percent >= WAITED_PERCENT or moved_bytes >= MOVED_SHARE * after.total_bytes > 0
