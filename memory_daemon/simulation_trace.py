"""A trace: what happened around one device's memory, without what any policy did about it.

Pure. A journal tells what was free while a policy ran. What others used follows from it: all memory, less what was
free, less what governed modules held at that moment. On that, and on what was asked for, another policy can be tried.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from memory_daemon.host_records import HostSampled
from memory_daemon.journal_records import (
    DecisionMade,
    Demanded,
    Entry,
    OverrideChanged,
    Reported,
    Sampled,
    ServiceChanged,
)
from memory_daemon.masters import host_bytes
from memory_daemon.types import HOST, DeviceId, ModuleName, ModuleStatus, OverrideKind, ServiceName


@dataclass(frozen=True, slots=True, kw_only=True)
class OthersUse:
    """From now on processes that nobody governs use so much; more than there is means that they want it."""

    seconds: float
    used_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUnreadable:
    """From now on memory cannot be read."""

    seconds: float
    reason: str
    lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Requests used modules; `claims` is by how many open utterances each is claimed from now on."""

    seconds: float
    service: ServiceName
    uses: Mapping[ModuleName, int]
    claims: Mapping[ModuleName, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCame:
    """A service came, or began anew under another `instance_id`, with its modules where they were."""

    seconds: float
    service: ServiceName
    instance_id: str
    modules: tuple[ModuleStatus, ...]
    unix_seconds: float
    largest_step_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLeft:
    """A service is governed no more; what it holds counts as others' use."""

    seconds: float
    service: ServiceName


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocatorKept:
    """A service's allocator keeps so much more of the device without using it, or less if negative."""

    seconds: float
    service: ServiceName
    change_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStands:
    """From now on others use so much of host memory beside the device, and processes wait for it for such shares."""

    seconds: float
    total_bytes: int
    used_bytes: int
    some_percent: float | None = None
    full_percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overruled:
    """An operator wants something of a module, or (None) nothing any more."""

    seconds: float
    service: ServiceName
    module: ModuleName
    kind: OverrideKind | None


Event = OthersUse | MemoryUnreadable | Asked | ServiceCame | ServiceLeft | AllocatorKept | HostStands | Overruled


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One device's events in order; their seconds count from `start_unix_seconds`."""

    device: DeviceId
    total_bytes: int
    start_unix_seconds: float
    seconds: float
    events: tuple[Event, ...]


Facts = Mapping[tuple[ServiceName, str, ModuleName], ModuleStatus]
"""What is known of a module of an instance of a service, from all its reports together."""


def traces_of(entries: Iterable[Entry]) -> tuple[Trace, ...]:
    """Return a trace for every device that a journal has readings of, in the order of their names."""
    ordered = sorted(entries, key=_moment)
    devices = sorted({entry.record.device for entry in ordered if isinstance(entry.record, Sampled)})
    return tuple(_Reading(ordered, device).trace() for device in devices)


def _moment(entry: Entry) -> float:
    """Return when it was so: a report tells of a moment that is a little before it was written down."""
    match entry.record:
        case Reported(report=report) if report.unix_seconds > 0:
            return min(entry.unix_seconds, report.unix_seconds)
        case _:
            return entry.unix_seconds


class _Reading:
    """One pass over a journal for one device."""

    def __init__(self, entries: list[Entry], device: DeviceId) -> None:
        self._entries = entries
        self._device = device
        self._start = _moment(entries[0]) if entries else 0.0
        self._facts = _facts_of(entries)
        self._instances: dict[ServiceName, str] = {}
        self._held: dict[ServiceName, int] = {}
        self._kept: dict[ServiceName, int] = {}
        self._host: dict[ServiceName, int] = {}
        self._trimmed: set[ServiceName] = set()
        self._events: list[Event] = []
        self._total_bytes = 0

    def __repr__(self) -> str:
        return f"<_Reading {self._device} | {len(self._events)} events>"

    def trace(self) -> Trace:
        """Return what the journal tells of the device."""
        for entry in self._entries:
            self._take(entry, _moment(entry) - self._start)
        return Trace(
            device=self._device,
            total_bytes=self._total_bytes,
            start_unix_seconds=self._start,
            seconds=_moment(self._entries[-1]) - self._start,
            events=tuple(self._events),
        )

    def _take(self, entry: Entry, seconds: float) -> None:
        match entry.record:
            case Sampled(device=self._device) as sampled:
                self._take_sample(sampled, seconds)
            case HostSampled() as host if self._device != HOST:
                self._take_host(host, seconds)
            case ServiceChanged() as changed:
                self._take_service(changed, seconds)
            case Reported(device=self._device) as reported:
                self._take_report(reported, seconds)
            case Demanded() as demanded if demanded.service in self._held:
                self._events.append(
                    Asked(seconds=seconds, service=demanded.service, uses=demanded.uses, claims=demanded.claims)
                )
            case DecisionMade(device=self._device) as made:
                self._trimmed |= {ServiceName(name) for name in made.trim}
            case OverrideChanged(override=override, change=change):
                kind = override.kind if change == "set" else None
                self._events.append(
                    Overruled(seconds=seconds, service=override.service, module=override.module, kind=kind)
                )
            case _:
                pass

    def _take_sample(self, sampled: Sampled, seconds: float) -> None:
        if sampled.error:
            self._events.append(MemoryUnreadable(seconds=seconds, reason=sampled.error, lost=sampled.lost))
            return
        self._total_bytes = max(self._total_bytes, sampled.total_bytes)
        used_bytes = max(0, sampled.total_bytes - sampled.free_bytes - self._ours_bytes())
        self._events.append(OthersUse(seconds=seconds, used_bytes=used_bytes))

    def _take_host(self, host: HostSampled, seconds: float) -> None:
        self._events.append(
            HostStands(
                seconds=seconds,
                total_bytes=host.total_bytes,
                used_bytes=max(0, host.total_bytes - host.free_bytes - sum(self._host.values())),
                some_percent=host.some_percent,
                full_percent=host.full_percent,
            )
        )

    def _take_service(self, changed: ServiceChanged, seconds: float) -> None:
        self._instances[changed.service] = changed.instance_id
        if not changed.governed and self._held.pop(changed.service, None) is not None:
            self._kept.pop(changed.service, None)
            self._host.pop(changed.service, None)
            self._events.append(ServiceLeft(seconds=seconds, service=changed.service))

    def _take_report(self, reported: Reported, seconds: float) -> None:
        service, instance_id = reported.service, self._instances.get(reported.service, "")
        known = any(
            isinstance(event, ServiceCame) and (event.service, event.instance_id) == (service, instance_id)
            for event in self._events
        )
        if not known or service not in self._held:
            modules = tuple(self._lasting(service, instance_id, status) for status in reported.report.modules)
            self._events.append(
                ServiceCame(
                    seconds=seconds,
                    service=service,
                    instance_id=instance_id,
                    modules=modules,
                    unix_seconds=self._start + seconds,
                    largest_step_bytes=reported.report.largest_step_bytes,
                )
            )
            self._kept.pop(service, None)
        self._held[service] = sum(status.home_bytes for status in reported.report.modules if status.at_home)
        self._host[service] = sum(host_bytes(status) for status in reported.report.modules)
        usage = reported.report.usage
        self._take_kept(service, 0 if usage is None else usage.kept_bytes, seconds)

    def _take_kept(self, service: ServiceName, kept_bytes: int, seconds: float) -> None:
        """Tell what an allocator keeps more or less; what it gave back because a policy asked is not the story's."""
        change_bytes = kept_bytes - self._kept.get(service, 0)
        self._kept[service] = kept_bytes
        if change_bytes < 0 and service in self._trimmed:
            self._trimmed.discard(service)
        elif change_bytes:
            self._events.append(AllocatorKept(seconds=seconds, service=service, change_bytes=change_bytes))

    def _ours_bytes(self) -> int:
        return sum(self._held.values()) + sum(self._kept.values())

    def _lasting(self, service: ServiceName, instance_id: str, status: ModuleStatus) -> ModuleStatus:
        fact = self._facts[service, instance_id, status.module]
        return replace(status, home_bytes=fact.home_bytes, restore_seconds=fact.restore_seconds)


def _facts_of(entries: list[Entry]) -> Facts:
    """Return the last word on every module; its size is the largest that was measured."""
    instances: dict[ServiceName, str] = {}
    facts: dict[tuple[ServiceName, str, ModuleName], ModuleStatus] = {}
    for entry in entries:
        if isinstance(entry.record, ServiceChanged):
            instances[entry.record.service] = entry.record.instance_id
        if isinstance(entry.record, Reported):
            for status in entry.record.report.modules:
                key = (entry.record.service, instances.get(entry.record.service, ""), status.module)
                known = facts.get(key, status)
                restored = known.restore_seconds if status.restore_seconds is None else status.restore_seconds
                size_bytes = max(known.home_bytes, status.home_bytes)
                facts[key] = replace(status, home_bytes=size_bytes, restore_seconds=restored)
    return facts
