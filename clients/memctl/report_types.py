"""How a service used memory since it started, as its memory report tells it."""

from dataclasses import dataclass
from enum import StrEnum

from memctl.types import ModuleStatus


class Phase(StrEnum):
    """What a service was doing when its memory was sampled."""

    STARTING = "starting"
    IDLE = "idle"
    SPEAKING = "speaking"
    MOVING = "moving"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySample:
    """Memory of one service at one moment."""

    unix_seconds: float
    phase: Phase
    process_bytes: int
    home_bytes: int
    device_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseUsage:
    """Memory of one service in one phase."""

    phase: Phase
    samples: int
    average_process_bytes: int
    peak_process_bytes: int
    average_home_bytes: int
    peak_home_bytes: int
    average_device_bytes: int | None = None
    peak_device_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """How a service used memory since it started. `efficiency` is 0 if everything stayed home, 1 if nothing did.

    With `history_off`, the service keeps no samples. What was held of a device is None without one.
    """

    samples: tuple[MemorySample, ...]
    phases: tuple[PhaseUsage, ...]
    peak_process_bytes: int
    peak_home_bytes: int
    average_home_bytes: int
    all_home_bytes: int
    efficiency: float
    restores: int
    evictions: int
    restored_bytes: int
    released_bytes: int
    modules: tuple[ModuleStatus, ...]
    peak_device_bytes: int | None = None
    history_off: bool = False
