"""What the daemon and the services tell, as values: the only thing that tables, frames and JSON are made from.

Sizes are bytes, lengths of time seconds, moments seconds since 1970. Names equal the wire's, with the unit last.
"""

from dataclasses import dataclass
from enum import StrEnum

from memctl.ledger_types import Ledger, PredictionTally
from memctl.service_types import DeviceUsage


class Tier(StrEnum):
    """Where a module's bytes are."""

    AUTO = "auto"
    DEVICE = "device"
    HOST = "host"
    DISK = "disk"
    UNKNOWN = "unknown"


class ModuleState(StrEnum):
    """What a module is doing."""

    RESTING = "resting"
    RESTORING = "restoring"
    EVICTING = "evicting"
    BROKEN = "broken"
    UNKNOWN = "unknown"


class Authority(StrEnum):
    """Who decided where a module is."""

    DEFAULT = "default"
    DIRECTIVE = "directive"
    OPERATOR = "operator"
    DEMAND = "demand"
    UNKNOWN = "unknown"


class Pressure(StrEnum):
    """Where memory stands."""

    ROOM = "room"
    STEADY = "steady"
    LOW = "low"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


class OverrideKind(StrEnum):
    """What an operator wants of a module."""

    PIN = "pin"
    HOLD = "hold"
    EVICT = "evict"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ByteMark:
    """A level of free memory in bytes."""

    bytes: int


@dataclass(frozen=True, slots=True)
class PercentMark:
    """A level of free memory as a share of the total, 0 to 100."""

    percent: float


Mark = ByteMark | PercentMark
SettingValue = Mark | float | int | bool | None
"""A mark, seconds, bytes a second, or a switch: which of them, `settings.SETTINGS` says. None where none was told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Every number of the policy by its wire name, and which version of it this is."""

    values: dict[str, SettingValue]
    etag: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberChange:
    """A number of the policy that changed, in the daemon's words."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChange:
    """One change of the policy: the revision that it made, when, who, and each number."""

    revision: int
    update_unix_seconds: float | None
    updated_by: str
    numbers: tuple[NumberChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyInForce:
    """The policy, and who changed it last; None and empty if nobody did. `changes` can be undone, newest first."""

    policy: Policy
    update_unix_seconds: float | None
    updated_by: str
    changes: tuple[PolicyChange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The marks of one device in bytes of free memory."""

    critical_bytes: int
    low_bytes: int
    high_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """The newest reading of one device. `error` says why it could not be read; `marks` is None before the first."""

    device: str
    unix_seconds: float | None
    total_bytes: int
    free_bytes: int
    error: str
    pressure: Pressure
    marks: Marks | None

    @property
    def used_bytes(self) -> int:
        """Bytes that are not free, never below 0."""
        return max(0, self.total_bytes - self.free_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleStatus:
    """One module as it really is. Durations are medians, None before the first move."""

    module: str
    home: Tier
    tier: Tier
    state: ModuleState
    bytes_by_tier: dict[Tier, int]
    home_bytes: int
    leases: int
    claims: int
    uses: int
    last_use_unix_seconds: float | None
    restore_seconds: float | None
    evict_seconds: float | None
    authority: Authority
    restores: int
    evictions: int
    pinned: bool
    rest: Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingMove:
    """A move that is wanted but cannot be made yet, and why."""

    module: str
    tier: Tier
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What really is in one service. 0 is none, or not told, `budget_bytes`, `device` None for no bound, none."""

    unix_seconds: float | None
    modules: tuple[ModuleStatus, ...]
    budget_bytes: int | None
    home_bytes: int
    applied_version: int
    accepted_version: int
    pending_moves: tuple[PendingMove, ...]
    sessions: int
    queued_utterances: int
    process_bytes: int
    released_bytes: int
    epoch: int
    holder_id: str
    restore_waits: int
    restore_wait_seconds: float
    device: DeviceUsage | None
    largest_step_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """One service's own word on where everything is."""

    service: str
    service_instance_id: str
    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """A service as the daemon knows it. `report` is None before the first one."""

    service: str
    governed: bool
    reason: str
    epoch: int
    directive_version: int
    device: str
    report: Report | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What an operator wants of one module. `expire_unix_seconds` None means until it is released."""

    service: str
    module: str
    kind: OverrideKind
    expire_unix_seconds: float | None
    set_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the daemon decided, and why.

    `trim`: an allocator's cache was asked for; `to_disk`, `to_host`: modules whose host memory goes, or comes back.
    """

    unix_seconds: float | None
    service: str
    version: int
    reason: str
    evict: tuple[str, ...]
    restore: tuple[str, ...]
    device: str = ""
    dry_run: bool = False
    trim: bool = False
    to_disk: tuple[str, ...] = ()
    to_host: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """An operator's word that the daemon moves nothing. `expire_unix_seconds` None means until it is cleared."""

    start_unix_seconds: float | None
    expire_unix_seconds: float | None
    set_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPoint:
    """Memory of one device at one moment."""

    device: str
    unix_seconds: float
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All that the daemon sees and does at one moment. Decisions are newest first."""

    holder_id: str
    devices: tuple[DeviceMemory, ...]
    services: tuple[ServiceStatus, ...]
    overrides: tuple[Override, ...]
    decisions: tuple[Decision, ...]
    policy: Policy
    freeze: Freeze | None = None
    predictions: tuple[PredictionTally, ...] = ()
    ledgers: tuple[Ledger, ...] = ()

    @property
    def dry_run(self) -> bool:
        """Whether the daemon only rehearses."""
        return bool(self.policy.values.get("dry_run"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementAnswer:
    """A module after the service was asked to place it. `pending_reason` is empty if it is there."""

    module: ModuleStatus
    pending_reason: str
