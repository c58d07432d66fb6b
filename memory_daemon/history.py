"""What happened, for an operator: the journal read backwards, and its records told in words.

Samples, reports and demand are what a simulation needs; they are skipped by the head of their line, unread. What a
decision was made from is left out too: it is most of a journal, and no words.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from memory_daemon.journal_records import (
    DecisionMade,
    DeviceEvent,
    Directed,
    Entry,
    FreezeChanged,
    OverrideChanged,
    PolicyChanged,
    Record,
    RecordsLost,
    Refused,
    ServiceChanged,
    Started,
    entry_of,
)
from memory_daemon.sizes import size_text

BLOCK_BYTES = 256 * 1024
LINE_BYTES_MAXIMUM = 1 << 20


class Kind(Enum):
    """What a line of history is about; the values are those of the wire."""

    POLICY = 1
    OVERRIDE = 2
    FREEZE = 3
    DECISION = 4
    DIRECTIVE = 5
    SERVICE = 6
    DEVICE = 7
    DAEMON = 8


_RECORD_KINDS = {
    "policy": Kind.POLICY,
    "override": Kind.OVERRIDE,
    "freeze": Kind.FREEZE,
    "decision": Kind.DECISION,
    "directive": Kind.DIRECTIVE,
    "service": Kind.SERVICE,
    "refusal": Kind.SERVICE,
    "event": Kind.DEVICE,
    "started": Kind.DAEMON,
    "lost": Kind.DAEMON,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing that happened; modules as `service/module`. `asked` are services asked for what allocators keep."""

    unix_seconds: float
    kind: Kind
    words: str
    requested_by: str = ""
    service: str = ""
    device: str = ""
    evict: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    numbers: dict[str, tuple[str, str]] = field(default_factory=dict)
    version: int = 0
    dry_run: bool = False

    def names(self, service: str, module: str) -> bool:
        """Tell whether it is about a service and a module; empty is any."""
        named = (*self.evict, *self.restore, *self.modules)
        services = {self.service, *self.asked, *(one.partition("/")[0] for one in named)}
        return (not service or service in services) and (
            not module or any(one.partition("/")[2] == module for one in named)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of history; no kinds are all, empty names are any."""

    events_maximum: int
    kinds: frozenset[Kind] = frozenset()
    service: str = ""
    module: str = ""
    start_unix_seconds: float | None = None


def history(paths: list[Path], question: Question) -> tuple[tuple[Told, ...], bool]:
    """Return what happened, newest first, and whether there is more; `paths` are oldest first."""
    found: list[Told] = []
    for told in _told(paths, question):
        if len(found) == question.events_maximum:
            return tuple(found), True
        found.append(told)
    return tuple(found), False


def lines_back(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the lines of a file from its end, without their ends; nothing of one that is gone or cannot be read."""
    try:
        with path.open("rb") as file:
            at, rest = file.seek(0, os.SEEK_END), b""
            while at > 0:
                size = min(block_bytes, at)
                at = file.seek(at - size)
                first, *lines = (file.read(size) + rest).split(b"\n")
                yield from reversed(lines)
                # A line without an end is damage; holding on to it would hold the whole file.
                rest = first if len(first) <= LINE_BYTES_MAXIMUM else b""
            yield rest
    except OSError:
        return


def _told(paths: list[Path], question: Question) -> Iterator[Told]:
    wanted = {name for name, kind in _RECORD_KINDS.items() if not question.kinds or kind in question.kinds}
    for path in reversed(paths):
        for line in lines_back(path):
            entry = _entry(line, wanted)
            if entry is None:
                continue
            if question.start_unix_seconds is not None and entry.unix_seconds < question.start_unix_seconds:
                return
            told = tell(entry)
            if told is not None and told.names(question.service, question.module):
                yield told


def _entry(line: bytes, wanted: set[str]) -> Entry | None:
    head = line[:96].partition(b'"kind":"')[2].partition(b'"')[0].decode(errors="replace")
    if head not in wanted:
        return None
    try:
        values: Any = json.loads(line)
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    values.pop("basis", None)
    return entry_of(values)


def tell(entry: Entry) -> Told | None:
    """Return a record in words; None for what only a simulation needs."""
    write = _WRITERS.get(type(entry.record))
    return None if write is None else write(entry.unix_seconds, entry.record)


def _policy(at: float, record: PolicyChanged) -> Told:
    numbers = ", ".join(f"{name} {before} -> {after}" for name, (before, after) in record.changes.items())
    verb = "taken back" if record.undo else "changed"
    return Told(
        unix_seconds=at,
        kind=Kind.POLICY,
        words=f"policy {verb}: {numbers}",
        requested_by=record.requested_by,
        numbers=record.changes,
        version=record.revision,
    )


def _override(at: float, record: OverrideChanged) -> Told:
    override = record.override
    named = f"{override.service}/{override.module}"
    return Told(
        unix_seconds=at,
        kind=Kind.OVERRIDE,
        words=f"override {override.kind.value} of {named} {_change(record.change)}",
        requested_by=record.requested_by,
        service=override.service,
        modules=(named,),
    )


def _freeze(at: float, record: FreezeChanged) -> Told:
    words = f"freeze {_change(record.change)}"
    return Told(unix_seconds=at, kind=Kind.FREEZE, words=words, requested_by=record.requested_by)


def _decision(at: float, record: DecisionMade) -> Told:
    return Told(
        unix_seconds=at,
        kind=Kind.DECISION,
        words=record.reason,
        device=record.device,
        evict=record.evict,
        restore=record.restore,
        modules=(*record.to_disk, *record.to_host),
        asked=record.trim,
    )


def _directive(at: float, record: Directed) -> Told:
    wish = record.wish
    wanted = ", ".join(f"{one.module} in {one.tier.name}" for one in wish.placements)
    words = f"wants {wanted}" if wanted else "leaves every module to its service"
    budget = "" if wish.budget_bytes is None else f", at most {size_text(wish.budget_bytes)}"
    why = f": {record.reason}" if record.reason else ""
    return Told(
        unix_seconds=at,
        kind=Kind.DIRECTIVE,
        words=f"{words}{budget}{why}",
        service=record.service,
        modules=tuple(f"{record.service}/{one.module}" for one in wish.placements),
        version=record.version,
        dry_run=not record.sent,
    )


def _service(at: float, record: ServiceChanged) -> Told:
    state = f"is governed, epoch {record.epoch}" if record.governed else f"is not governed: {record.reason}"
    return Told(
        unix_seconds=at,
        kind=Kind.SERVICE,
        words=f"{record.service} {state}",
        service=record.service,
        device=record.device,
    )


def _refusal(at: float, record: Refused) -> Told:
    words = f"{record.service} refused directive {record.version}: {record.reason}"
    return Told(unix_seconds=at, kind=Kind.SERVICE, words=words, service=record.service, version=record.version)


def _event(at: float, record: DeviceEvent) -> Told:
    words = f"{record.event} {record.number}".strip()
    return Told(unix_seconds=at, kind=Kind.DEVICE, words=words, device=record.device)


def _started(at: float, record: Started) -> Told:
    return Told(unix_seconds=at, kind=Kind.DAEMON, words=f"daemon {record.version} began as {record.holder_id}")


def _lost(at: float, record: RecordsLost) -> Told:
    return Told(unix_seconds=at, kind=Kind.DAEMON, words=f"{record.count} records were lost: {record.reason}")


def _change(change: str) -> str:
    return "ran out" if change == "expired" else change


_WRITERS: dict[type[Record], Callable[[float, Any], Told]] = {
    PolicyChanged: _policy,
    OverrideChanged: _override,
    FreezeChanged: _freeze,
    DecisionMade: _decision,
    Directed: _directive,
    ServiceChanged: _service,
    Refused: _refusal,
    DeviceEvent: _event,
    Started: _started,
    RecordsLost: _lost,
}
