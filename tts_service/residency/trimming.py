"""What giving memory back has brought, kind by kind. Pure."""

from dataclasses import dataclass
from enum import Enum

from tts_service.residency.types import DeviceUsage
from tts_service.types import ModuleName

STILL_MOVING = "modules are still moving"


class MemoryKind(Enum):
    """A kind of memory that can be given back."""

    DEVICE_CACHE = "device_cache"
    SCRATCH = "scratch"
    MODULES = "modules"
    PROCESS = "process"


_OBSTACLES = {
    MemoryKind.DEVICE_CACHE: "shares blocks with memory in use",
    MemoryKind.SCRATCH: "in use",
    MemoryKind.MODULES: "in use, claimed, waited for, pinned or wanted at home",
}
"""Why something is left of a kind. The process's resident set has no end that it could reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the process holds at one moment: `home_bytes` without scratch, which `device` counts.

    `device` is None where modules compute in host memory.
    """

    home_bytes: int
    process_bytes: int
    device: DeviceUsage | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimmedKind:
    """One kind of memory before and after, and why no more of it was given back: empty if all was, or if none can tell.

    Speech goes on meanwhile, so that after can be more than before.
    """

    kind: MemoryKind
    before_bytes: int
    after_bytes: int
    obstacle: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimReport:
    """What was given back, the modules that were sent away for that, and what is held of the device afterwards."""

    kinds: tuple[TrimmedKind, ...]
    modules: tuple[ModuleName, ...]
    device: DeviceUsage | None


def trimmed(
    before: Held, after: Held, *, sent: tuple[ModuleName, ...], with_modules: bool, finished: bool
) -> TrimReport:
    """Compare two moments; `finished` is whether everything that was begun has ended between them."""
    late = "" if finished else STILL_MOVING
    kinds: list[TrimmedKind] = []
    if before.device is not None and after.device is not None:
        kinds.append(_kind(MemoryKind.DEVICE_CACHE, _kept_bytes(before.device), _kept_bytes(after.device), late=late))
        kinds.append(_kind(MemoryKind.SCRATCH, before.device.scratch_bytes, after.device.scratch_bytes, late=late))
    if with_modules:
        kinds.append(_kind(MemoryKind.MODULES, before.home_bytes, after.home_bytes, late=late))
    kinds.append(_kind(MemoryKind.PROCESS, before.process_bytes, after.process_bytes, late=late))
    return TrimReport(kinds=tuple(kinds), modules=sent, device=after.device)


def _kind(kind: MemoryKind, before_bytes: int, after_bytes: int, *, late: str) -> TrimmedKind:
    obstacle = late or (_OBSTACLES.get(kind, "") if after_bytes else "")
    return TrimmedKind(kind=kind, before_bytes=before_bytes, after_bytes=after_bytes, obstacle=obstacle)


def _kept_bytes(usage: DeviceUsage) -> int:
    return usage.reserved_bytes - usage.allocated_bytes
