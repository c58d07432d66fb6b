"""Values of the memory daemon: what services report, what memory reads, and what is wanted of modules.

Sizes are bytes. `seconds` alone is the monotonic clock, `unix_seconds` the wall clock.
"""

from dataclasses import dataclass, fields
from enum import Enum, IntEnum
from operator import attrgetter
from typing import NewType

from memory_daemon.usage import DeviceUsage

DeviceId = NewType("DeviceId", str)
ModuleName = NewType("ModuleName", str)
ServiceName = NewType("ServiceName", str)

HOST = DeviceId("host")
"""The device that is the machine's own memory; every other one is named by its GPU's UUID."""


class Tier(IntEnum):
    """Where a module's bytes are; lower is closer to the computation. Numbers equal the wire's."""

    DEVICE = 1
    HOST = 2
    DISK = 3


class ModuleState(Enum):
    """What a module is doing; UNKNOWN is a word of a newer service."""

    RESTING = "resting"
    RESTORING = "restoring"
    EVICTING = "evicting"
    BROKEN = "broken"
    UNKNOWN = "unknown"


class Urgency(Enum):
    """When a module may leave."""

    WHEN_UNCLAIMED = "when_unclaimed"
    WHEN_UNLEASED = "when_unleased"


class Authority(Enum):
    """Who decided where a module is; UNKNOWN is a word of a newer service."""

    DEFAULT = "default"
    DIRECTIVE = "directive"
    OPERATOR = "operator"
    DEMAND = "demand"
    UNKNOWN = "unknown"


class Pressure(Enum):
    """Where memory stands; UNKNOWN when it could not be read."""

    ROOM = "room"
    STEADY = "steady"
    LOW = "low"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


class OverrideKind(Enum):
    """What an operator wants of a module."""

    PIN = "pin"
    HOLD = "hold"
    EVICT = "evict"


class Fault(Enum):
    """Why memory cannot be read: each kind is waited for in its own way."""

    NO_DRIVER = "no_driver"
    DRIVER_MISMATCH = "driver_mismatch"
    GPU_LOST = "gpu_lost"
    NO_PERMISSION = "no_permission"
    DEVICE_GONE = "device_gone"
    NO_ANSWER = "no_answer"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySample:
    """One reading of a device's memory."""

    device: DeviceId
    seconds: float
    unix_seconds: float
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFailed:
    """A device's memory could not be read. `lost` means that it will not come back by waiting."""

    device: DeviceId
    seconds: float
    unix_seconds: float
    reason: str
    lost: bool = False
    fault: Fault = Fault.OTHER


Sample = MemorySample | SampleFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class TierBytes:
    """Bytes that a module holds in one tier."""

    tier: Tier
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleStatus:
    """One module as its service sees it. Durations are medians of the last moves, None before the first."""

    module: ModuleName
    home: Tier
    tier: Tier
    state: ModuleState = ModuleState.RESTING
    held: tuple[TierBytes, ...] = ()
    home_bytes: int = 0
    leases: int = 0
    claims: int = 0
    uses: int = 0
    last_use_unix_seconds: float | None = None
    restore_seconds: float | None = None
    evict_seconds: float | None = None
    authority: Authority = Authority.DEFAULT
    restores: int = 0
    evictions: int = 0
    pinned: bool = False
    rest: Tier | None = None

    @property
    def at_home(self) -> bool:
        """Whether it can compute where it is."""
        return self.tier <= self.home

    @property
    def away(self) -> Tier:
        """The tier it goes to when it has to leave its home: the next one."""
        return Tier(min(self.home + 1, Tier.DISK))


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingMove:
    """A move that is wanted but cannot be made yet. `reason` is leased, claimed, budget, moving or operator."""

    module: ModuleName
    tier: Tier
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidencyReport:
    """What really is in a service. Versions and epoch: 0 for none; `budget_bytes` None for no bound.

    `largest_step_bytes` is what its speech needs at home at once; 0 if it does not tell.
    """

    unix_seconds: float
    modules: tuple[ModuleStatus, ...]
    budget_bytes: int | None = None
    home_bytes: int = 0
    applied_version: int = 0
    accepted_version: int = 0
    pending_moves: tuple[PendingMove, ...] = ()
    sessions: int = 0
    queued_utterances: int = 0
    process_bytes: int = 0
    released_bytes: int = 0
    epoch: int = 0
    holder_id: str = ""
    restore_waits: int = 0
    restore_wait_seconds: float = 0.0
    usage: DeviceUsage | None = None
    largest_step_bytes: int = 0


_TELLING = attrgetter(
    *(each.name for each in fields(ResidencyReport) if each.name not in {"unix_seconds", "process_bytes"})
)


def says_the_same(before: ResidencyReport, after: ResidencyReport) -> bool:
    """Tell whether two reports differ in their time at most, and in the process's size, which nothing follows from."""
    return before is after or bool(_TELLING(before) == _TELLING(after))


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Memory that a service computes in."""

    device: DeviceId
    tier: Tier
    display_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A wish for one module."""

    module: ModuleName
    tier: Tier
    urgency: Urgency = Urgency.WHEN_UNCLAIMED


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The whole placement wanted of one service: a level, without the number and the life that a directive adds.

    `budget_bytes` None leaves the service its own budget; a module that is not listed is its own affair.
    """

    placements: tuple[Placement, ...] = ()
    budget_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """A wish with its version, and how long it holds unless it is renewed."""

    version: int
    wish: Wish
    valid_for_seconds: float
    renewal_seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A directive that a service refused as a whole."""

    version: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """An operator's wish for one module; `expire_unix_seconds` None for never, `set_by` as that client said."""

    service: ServiceName
    module: ModuleName
    kind: OverrideKind
    expire_unix_seconds: float | None = None
    set_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """An operator's word that the daemon moves nothing; `expire_unix_seconds` None for never."""

    start_unix_seconds: float
    expire_unix_seconds: float | None = None
    set_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What was decided for one service, and why; `version` is that of the directive, 0 when none was sent.

    `dry_run` means that it was only rehearsed; `device` is empty where it is not known.
    """

    unix_seconds: float
    service: ServiceName
    version: int
    reason: str
    evict: tuple[ModuleName, ...] = ()
    restore: tuple[ModuleName, ...] = ()
    device: DeviceId = DeviceId("")
    dry_run: bool = False
    trim: bool = False
    to_disk: tuple[ModuleName, ...] = ()
    to_host: tuple[ModuleName, ...] = ()
