"""What the journal holds: one typed record a line, with the schema's version and the time in front.

A record says what was so, never what to conclude, so that another policy can be tried on it. What a decision was made
from stands in the decision's own record: samples and reports that tell nothing new are not written, but a decision
depends on them too (how fast memory fills, who was used), so that only this makes it repeatable. Fields and kinds may
be added in one schema version: readers ignore fields, and skip kinds, that they do not know; anything else raises it.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from memory_daemon.host_records import HostSampled
from memory_daemon.marks import Policy
from memory_daemon.orders import DeviceState, Observation
from memory_daemon.prediction_records import PredictionEnded, PredictionMade
from memory_daemon.types import DeviceId, Freeze, ModuleName, Override, Pressure, ResidencyReport, ServiceName, Wish

SCHEMA = 1
LINE_BYTES_MAXIMUM = 1 << 20
"""No record comes near it; a longer line is no record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The daemon began, with this policy, and with what each service keeps at home whatever happens.

    `floors_bytes` None in an older journal.
    """

    kind: Literal["started"] = "started"
    holder_id: str
    version: str
    policy: Policy
    floors_bytes: dict[ServiceName, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """A reading of memory; `error` says why there is none, `lost` that waiting will not bring it back.

    `confirms`: read again before acting on the one before.
    """

    kind: Literal["sample"] = "sample"
    device: DeviceId
    pressure: Pressure
    total_bytes: int = 0
    free_bytes: int = 0
    error: str = ""
    lost: bool = False
    confirms: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceChanged:
    """A service was let in, lost or refused; `reason` is empty while it is governed."""

    kind: Literal["service"] = "service"
    service: ServiceName
    device: DeviceId
    governed: bool
    reason: str
    epoch: int
    instance_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What a service said that it is."""

    kind: Literal["report"] = "report"
    service: ServiceName
    device: DeviceId
    report: ResidencyReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Demanded:
    """What was asked for since the record before: uses by module, and requests that waited, and how long together.

    `claims` is by how many open utterances each module is claimed now; older journals have none.
    """

    kind: Literal["demand"] = "demand"
    service: ServiceName
    uses: dict[ModuleName, int]
    restore_waits: int
    restore_wait_seconds: float
    claims: dict[ModuleName, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Directed:
    """A wish that was sent to a service; `sent` is false in a dry run."""

    kind: Literal["directive"] = "directive"
    service: ServiceName
    version: int
    wish: Wish
    sent: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A directive that a service refused."""

    kind: Literal["refusal"] = "refusal"
    service: ServiceName
    version: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """All that a decision was made from: `decide(state, seen, policy)` makes it again."""

    state: DeviceState
    seen: Observation
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionMade:
    """What was decided for a device, and why; modules as `service/module`. `basis` None in an older journal.

    `trim` are services that were asked for what their allocators keep.
    """

    kind: Literal["decision"] = "decision"
    device: DeviceId
    pressure: Pressure
    reason: str
    evict: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()
    trim: tuple[str, ...] = ()
    to_disk: tuple[str, ...] = ()
    to_host: tuple[str, ...] = ()
    basis: Basis | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanged:
    """An operator changed the policy: who, and each number from what to what, besides the whole as it is now.

    `undo`: by taking earlier changes back.
    """

    kind: Literal["policy"] = "policy"
    requested_by: str
    revision: int
    changes: dict[str, tuple[str, str]]
    policy: Policy
    undo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideChanged:
    """An operator's wish was set, cleared, or ran out."""

    kind: Literal["override"] = "override"
    change: Literal["set", "cleared", "expired"]
    requested_by: str
    override: Override


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeChanged:
    """An operator's freeze was set, cleared, or ran out."""

    kind: Literal["freeze"] = "freeze"
    change: Literal["set", "cleared", "expired"]
    requested_by: str
    freeze: Freeze


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessesSeen:
    """Who used a device when something was decided about it: bytes by process, largest first; None if not told."""

    kind: Literal["processes"] = "processes"
    device: DeviceId
    used_bytes: dict[str, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEvent:
    """Something happened to a device: an xid, a recovery, or that it is unavailable; `number` is the driver's."""

    kind: Literal["event"] = "event"
    device: DeviceId
    event: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsLost:
    """So many records could not be written before this one."""

    kind: Literal["lost"] = "lost"
    count: int
    reason: str


Record = (
    Started
    | Sampled
    | HostSampled
    | ServiceChanged
    | Reported
    | Demanded
    | Directed
    | Refused
    | DecisionMade
    | PolicyChanged
    | OverrideChanged
    | FreezeChanged
    | ProcessesSeen
    | DeviceEvent
    | PredictionMade
    | PredictionEnded
    | RecordsLost
)


_Tagged = Annotated[Record, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record and its time."""

    unix_seconds: float
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A line that is no record of this schema: cut off, damaged, or of a newer daemon."""

    path: Path
    line: int
    reason: str


def line_of(record: Record, unix_seconds: float) -> bytes:
    """Return a record as one line of JSON, its end included."""
    values: dict[str, Any] = _records().dump_python(record, mode="json")
    head = {"schema": SCHEMA, "time": round(unix_seconds, 6), "kind": record.kind}
    return json.dumps(head | values, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def read_journal(paths: Iterable[Path]) -> Iterator[Entry | Unreadable]:
    """Yield the entries of journal files in the order given; what is unreadable is told and skipped.

    Raises OSError if a file cannot be read at all.
    """
    for path in paths:
        with path.open("rb") as file:
            for line, text in enumerate(iter(lambda: file.readline(LINE_BYTES_MAXIMUM), b""), start=1):
                yield _entry(text, path, line)


def entry_of(values: dict[str, Any]) -> Entry | None:
    """Return the entry of a line's values; None for what is no record of this schema."""
    try:
        if values["schema"] != SCHEMA:
            return None
        return Entry(unix_seconds=float(values["time"]), record=_records().validate_python(values, strict=False))
    except (ValueError, KeyError, TypeError):
        return None


def _entry(text: bytes, path: Path, line: int) -> Entry | Unreadable:
    if not text.endswith(b"\n"):
        return Unreadable(path=path, line=line, reason="the line is cut off")
    try:
        values = json.loads(text)
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            return Unreadable(path=path, line=line, reason=f"no record of schema {SCHEMA}")
        return Entry(unix_seconds=float(values["time"]), record=_records().validate_python(values, strict=False))
    except ValidationError as error:
        return Unreadable(path=path, line=line, reason=f"no known record: {error.error_count()} fields are wrong")
    except (ValueError, KeyError, TypeError) as error:
        return Unreadable(path=path, line=line, reason=f"no JSON record: {error}")


@cache
def _records() -> TypeAdapter[Record]:
    """Return the codec; built at first use, because it takes longer than all other imports here."""
    return TypeAdapter(_Tagged)
