"""What the daemon tells of reasons and of the past, and what became of taking changes back."""

from dataclasses import dataclass
from enum import StrEnum

from memctl.types import Decision, NumberChange, Policy, SettingValue, Tier


class HistoryKind(StrEnum):
    """What a line of history is about."""

    POLICY = "policy"
    OVERRIDE = "override"
    FREEZE = "freeze"
    DECISION = "decision"
    DIRECTIVE = "directive"
    SERVICE = "service"
    DEVICE = "device"
    DAEMON = "daemon"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """Who wants a module where it is wanted; nobody leaves it to its service."""

    NOBODY = "nobody"
    POLICY = "policy"
    OVERRIDE = "override"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEvent:
    """One thing that happened. Modules as `service/module`; `version` is 0 for neither revision nor directive."""

    unix_seconds: float
    kind: HistoryKind
    words: str
    requested_by: str
    service: str
    device: str
    evict: tuple[str, ...]
    restore: tuple[str, ...]
    numbers: tuple[NumberChange, ...]
    version: int
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What happened, newest first; `truncated` if there is more."""

    events: tuple[HistoryEvent, ...]
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuestion:
    """What is asked of history; no kinds are all, empty names any, no time any."""

    events_maximum: int
    kinds: tuple[HistoryKind, ...] = ()
    service: str = ""
    module: str = ""
    start_unix_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleExplanation:
    """Why one module is where it is; `wanted` is AUTO where that is left to its service."""

    module: str
    tier: Tier
    home: Tier
    wanted: Tier
    cause: Cause
    decision: Decision | None
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why the modules of a service are where they are, and why the last directive was sent."""

    modules: tuple[ModuleExplanation, ...]
    decision: Decision | None
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoAnswer:
    """The policy after changes were taken back, and each number that changed by it."""

    policy: Policy
    numbers: tuple[NumberChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trying:
    """A policy to try: numbers by their wire names above a profile; an empty profile is the policy in force."""

    name: str
    profile: str
    values: dict[str, SettingValue]
