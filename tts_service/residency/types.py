"""Values of the control path inside the service."""

from dataclasses import dataclass, field
from enum import Enum, IntEnum

from tts_service.types import ModuleName


class Tier(IntEnum):
    """Where a module's bytes are; lower is closer to the computation. Numbers equal the wire's."""

    DEVICE = 1
    HOST = 2
    DISK = 3


class ModuleState(Enum):
    """What a module is doing."""

    RESTING = "resting"
    RESTORING = "restoring"
    EVICTING = "evicting"
    BROKEN = "broken"


class Urgency(Enum):
    """When a module may leave for a directive."""

    WHEN_UNCLAIMED = "when_unclaimed"
    WHEN_UNLEASED = "when_unleased"


class Authority(Enum):
    """Who decided where a module is."""

    DEFAULT = "default"
    DIRECTIVE = "directive"
    OPERATOR = "operator"
    DEMAND = "demand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A wish for one module."""

    module: ModuleName
    tier: Tier
    urgency: Urgency = Urgency.WHEN_UNCLAIMED


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """The whole placement that a governor wants. `budget_bytes` None keeps the static budget."""

    epoch: int
    version: int
    valid_for_seconds: float
    budget_bytes: int | None = None
    placements: tuple[Placement, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleStatus:
    """One module as it really is. Durations are medians of the last moves, None before the first.

    `rest` is where it rests while nobody wishes anything else.
    """

    module: ModuleName
    home: Tier
    tier: Tier
    state: ModuleState
    bytes_by_tier: dict[Tier, int] = field(default_factory=dict)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingMove:
    """A move that is wanted but cannot be made yet. `reason` is leased, claimed, budget, moving or operator."""

    module: ModuleName
    tier: Tier
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingUsage:
    """Keys and values that wait in locked host memory because nobody asks for their segments' tokens.

    `segments` wait now, with `used_bytes` of the `held_bytes` that are locked for them, `most_bytes` at most. So far
    `departures` have left, which were away for `away_seconds` in all; `refusals` stayed for want of room.
    """

    segments: int = 0
    used_bytes: int = 0
    held_bytes: int = 0
    most_bytes: int = 0
    departures: int = 0
    refusals: int = 0
    away_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUsage:
    """What the process holds of a device: its allocator, arenas and scratch together, and how much of that is in use.

    `context_bytes` is what it holds beyond that: the driver's context, kernels, graphs. None is what is not known, or
    was not asked for: those four take time to find out. `waiting` is part of what is pinned on the host.
    """

    reserved_bytes: int
    allocated_bytes: int
    arena_bytes: int = 0
    scratch_bytes: int = 0
    pinned_host_bytes: int = 0
    free_bytes: int | None = None
    total_bytes: int | None = None
    largest_free_block_bytes: int | None = None
    context_bytes: int | None = None
    waiting: WaitingUsage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidencyReport:
    """What really is. Versions, epoch: 0 for none; `budget_bytes` None for no bound; `device` None without one.

    `largest_step_bytes` is what speech needs at home at once, with what an operator keeps there; 0 if not known.
    """

    unix_seconds: float
    modules: tuple[ModuleStatus, ...]
    budget_bytes: int | None
    home_bytes: int
    applied_version: int
    accepted_version: int
    pending_moves: tuple[PendingMove, ...]
    process_bytes: int
    released_bytes: int
    epoch: int
    holder_id: str
    restore_waits: int
    restore_wait_seconds: float
    sessions: int = 0
    queued_utterances: int = 0
    device: DeviceUsage | None = None
    largest_step_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Memory that modules can be in: "host", or a GPU's UUID, with the tier that it is."""

    device_id: str
    tier: Tier
    display_name: str = ""
