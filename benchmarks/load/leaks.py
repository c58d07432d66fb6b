"""What a service holds before a soak and after it, with nobody there: what stayed behind is a leak."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import psutil

from benchmarks.load.processes import held
from benchmarks.load.served import Served

THREADS_MOST: Final = 16
"""More than before: pools of gRPC and asyncio grow with the first burst, and stay."""

FILES_MOST: Final = 8
SOCKETS_MOST: Final = 4
RESIDENT_SHARE_MOST: Final = 0.10
RESIDENT_MIB_MOST: Final = 48.0
"""Of growth: an allocator keeps what the widest moment took."""

QUIET_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a service holds at one moment."""

    processes: int
    threads: int
    files: int
    sockets: int
    resident_mib: float
    sessions: int
    queued: int
    leases: int
    claims: int
    pending_moves: int


def leaks(before: Standing, after: Standing) -> list[str]:
    """Return what stayed behind, in words; nothing if the service is as it was."""
    found = [
        f"{getattr(after, name)} {name.replace('_', ' ')} are left with nobody there"
        for name in ("sessions", "queued", "leases", "claims", "pending_moves")
        if getattr(after, name)
    ]
    for name, most in (("threads", THREADS_MOST), ("files", FILES_MOST), ("sockets", SOCKETS_MOST), ("processes", 0)):
        grown = getattr(after, name) - getattr(before, name)
        if grown > most:
            found.append(f"{grown} more {name} than before ({getattr(after, name)})")
    grown_mib = after.resident_mib - before.resident_mib
    if grown_mib > RESIDENT_MIB_MOST + RESIDENT_SHARE_MOST * before.resident_mib:
        found.append(f"{grown_mib:.0f} MiB more than before ({after.resident_mib:.0f})")
    return found


def stand(served: Served) -> Standing:
    """Return what a service of ours holds, after it gave back what is worth nothing now."""
    assert served.pid is not None
    served.trim()
    report = served.residency()
    kept = held(psutil.Process(served.pid))
    return Standing(
        processes=kept.processes,
        threads=kept.threads,
        files=kept.files,
        sockets=kept.sockets,
        resident_mib=kept.resident_mib,
        sessions=report.sessions,
        queued=report.queued_utterances,
        leases=sum(each.leases for each in report.modules),
        claims=sum(each.claims for each in report.modules),
        pending_moves=len(report.pending_moves),
    )


async def settled(served: Served, before: Standing) -> tuple[Standing, list[str]]:
    """Wait until nothing is left behind, so long at most; return what the service holds then, and what stayed."""
    deadline = time.monotonic() + QUIET_SECONDS
    while True:
        after = await asyncio.to_thread(stand, served)
        found = leaks(before, after)
        if not found or time.monotonic() > deadline:
            return after, found
        await asyncio.sleep(LOOK_SECONDS)
