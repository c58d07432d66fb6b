"""What a service tells beside its modules: what it holds of a device, its settings, what trimming gave back."""

from dataclasses import dataclass
from enum import StrEnum


class SettingSource(StrEnum):
    """Where a setting's value came from."""

    DEFAULT = "default"
    FILE = "file"
    VARIABLE = "variable"
    FLAG = "flag"
    UNKNOWN = "unknown"


class MemoryKind(StrEnum):
    """A kind of memory that can be given back."""

    DEVICE_CACHE = "device_cache"
    SCRATCH = "scratch"
    MODULES = "modules"
    PROCESS = "process"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingUsage:
    """Keys and values of speech that nobody plays, which wait in host memory."""

    segments: int
    used_bytes: int
    held_bytes: int
    most_bytes: int
    departures: int
    refusals: int
    away_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUsage:
    """What a service holds of its device; None is what it does not know, or was not asked closely enough to tell."""

    reserved_bytes: int
    allocated_bytes: int
    arena_bytes: int
    scratch_bytes: int
    pinned_host_bytes: int
    free_bytes: int | None
    total_bytes: int | None
    largest_free_block_bytes: int | None
    context_bytes: int | None
    waiting: WaitingUsage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSetting:
    """One setting in force. `value` is as in the service's file, empty if nothing is set; see `SettingSource`."""

    name: str
    value: str
    source: SettingSource
    origin: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimmedMemory:
    """One kind of memory before and after a trim, and why no more of it was given back."""

    kind: MemoryKind
    before_bytes: int
    after_bytes: int
    obstacle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimAnswer:
    """What a trim gave back, the modules that it sent away, and what is held of the device afterwards."""

    kinds: tuple[TrimmedMemory, ...]
    modules: tuple[str, ...]
    device: DeviceUsage | None
