"""Whether memory stays flat and bytes stay the same: many utterances, and many moves of every module."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from benchmarks.speaking import whole_text
from greenroom.memory.v1 import residency_pb2 as memory_pb
from greenroom.memory.v1 import residency_pb2_grpc as memory_grpc

WORDS = "Every actor waits here until a voice calls."
SETTLED_FROM = 50
"""Cycles until allocators have what they keep."""


async def utterances(
    stub: Any, resident_bytes: Callable[[], int], count: int, tell: Callable[[int], None]
) -> list[int]:
    """Speak so many texts, a few at a time; return the resident set after every ten."""
    sizes = []
    for number in range(0, count, 10):
        await asyncio.gather(*(whole_text(stub, f"{WORDS} Number {number + i}.", seed=number + i) for i in range(10)))
        sizes.append(resident_bytes())
        tell(10)
    return sizes


async def cycles(
    stub: Any, control_socket: str, resident_bytes: Callable[[], int], count: int, tell: Callable[[int], None]
) -> dict[str, Any]:
    """Evict and restore every module so many times, speaking now and then; return sizes and what changed."""
    reference = await whole_text(stub, WORDS)
    home: list[int] = []
    away: list[int] = []
    changed = 0
    async with grpc.aio.insecure_channel(control_socket) as channel:
        control: Any = memory_grpc.ResidencyServiceStub(channel)
        modules = [m.module for m in (await control.GetResidency(memory_pb.GetResidencyRequest())).report.modules]
        for number in range(count):
            for tier, sizes in ((memory_pb.TIER_DISK, away), (memory_pb.TIER_HOST, home)):
                for module in modules:
                    await control.PlaceModule(memory_pb.PlaceModuleRequest(module=module, tier=tier))
                sizes.append(resident_bytes())
            if number % 25 == 0:
                changed += await whole_text(stub, WORDS) != reference
            tell(1)
        for module in modules:
            await control.PlaceModule(memory_pb.PlaceModuleRequest(module=module))
        report = (await control.GetResidency(memory_pb.GetResidencyRequest())).report
    changed += await whole_text(stub, WORDS) != reference
    return {
        "home_bytes": home,
        "away_bytes": away,
        "changed_recordings": changed,
        "measured_bytes": sum(m.home_bytes for m in report.modules),
        "moves": {
            m.module: {
                "home_mib": round(m.home_bytes / 2**20, 1),
                "restore_ms": round(m.restore_duration.ToNanoseconds() / 1e6, 2),
                "evict_ms": round(m.evict_duration.ToNanoseconds() / 1e6, 2),
            }
            for m in report.modules
        },
    }


def tenths(sizes: list[int]) -> list[int]:
    """Return the size at the end of every tenth of a run."""
    return [sizes[len(sizes) * tenth // 10 - 1] for tenth in range(1, 11)]


def growth_percent(sizes: list[int], settled_from: int) -> float:
    """Return how much the mean of the last tenth exceeds that of the tenth after settling."""
    tenth = max(1, (len(sizes) - settled_from) // 10)
    early, late = sizes[settled_from : settled_from + tenth], sizes[-tenth:]
    return round((sum(late) / len(late)) / (sum(early) / len(early)) * 100 - 100, 2)
