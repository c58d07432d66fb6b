"""Chooses what goes into the journal: everything that changed in earnest, and now and then that nothing did."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from memory_daemon.decision import Decision, Named
from memory_daemon.gpu_memory import GpuEvent, ProcessUse
from memory_daemon.host_records import HostSampled, host_differs, host_record
from memory_daemon.journal_records import (
    Basis,
    DecisionMade,
    Demanded,
    DeviceEvent,
    Directed,
    FreezeChanged,
    OverrideChanged,
    ProcessesSeen,
    Record,
    Refused,
    Reported,
    Sampled,
    ServiceChanged,
)
from memory_daemon.link_view import LinkView, tells_the_same
from memory_daemon.orders import Observation
from memory_daemon.prediction_records import records_of
from memory_daemon.predictions import Prediction, Predictions
from memory_daemon.types import DeviceId, Freeze, MemorySample, ModuleName, Override, ResidencyReport, ServiceName, Wish
from memory_daemon.usage import HostReading

SAMPLE_SHARE = 0.01
"""Free memory that moved by this share of the total is news."""
SAMPLE_SECONDS = 10.0
REPORT_SECONDS = 30.0
KEPT_BYTES = 64 << 20
"""What an allocator keeps is news in pieces of this size."""
DEMAND_SECONDS = 1.0
HOST_SECONDS = 30.0


Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept(Generic[Kind]):
    """What was recorded last, and when."""

    seconds: float
    record: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class _Demand:
    """Counters at the last demand record."""

    seconds: float
    instance_id: str
    uses: dict[ModuleName, int]
    claims: dict[ModuleName, int]
    restore_waits: int
    restore_wait_seconds: float


class Recorder:
    """Writes records through `write`, those of samples, reports and demand only when they tell something."""

    def __init__(self, *, write: Callable[[Record], None], clock: Callable[[], float]) -> None:
        self._write = write
        self._clock = clock
        self._samples: dict[DeviceId, _Kept[Sampled]] = {}
        self._reports: dict[ServiceName, _Kept[Reported]] = {}
        self._demands: dict[ServiceName, _Demand] = {}
        self._services: dict[ServiceName, ServiceChanged] = {}
        self._looked: dict[ServiceName, LinkView | None] = {}
        self._refusals: dict[ServiceName, int] = {}
        self._foreseen: dict[DeviceId, tuple[Prediction, ...]] = {}
        self._host: _Kept[HostSampled] | None = None

    def __repr__(self) -> str:
        return f"<Recorder {len(self._samples)} devices | {len(self._services)} services>"

    def decided(self, basis: Basis, decision: Decision) -> None:
        """Record a decision that has a reason, with all that it was made from, and a reading that tells something.

        A reading tells something if memory has moved, if a decision follows from it, or if it was taken to confirm one.
        """
        record = _sampled(basis.seen, decision)
        kept, leads_on = self._samples.get(record.device), decision.resample or record.confirms or decision.reason
        if leads_on or _is_news(kept, record, self._clock(), SAMPLE_SECONDS, _sample_differs):
            self._samples[record.device] = _Kept(seconds=self._clock(), record=record)
            self._write(record)
        if decision.reason:
            self._write(decision_record(basis, decision))

    def services(self, views: tuple[LinkView, ...]) -> None:
        """Record who came and went, what they said, and what was asked of them."""
        self._forget(self._services.keys() - {view.service for view in views})
        for view in views:
            if self._tells_nothing(view):
                continue
            waits = False
            self._service(view)
            if view.governed and view.report is not None:
                self._report(view, view.report)
                waits = self._demand(view, view.report)
            self._looked[view.service] = None if waits else view
            if view.refusal is not None and self._refusals.get(view.service) != view.refusal.version:
                self._refusals[view.service] = view.refusal.version
                self._write(Refused(service=view.service, version=view.refusal.version, reason=view.refusal.reason))

    def directed(self, service: ServiceName, version: int, wish: Wish, *, sent: bool, reason: str = "") -> None:
        """Record a new directive."""
        self._write(Directed(service=service, version=version, wish=wish, sent=sent, reason=reason))

    def host(self, reading: HostReading | None, *, short: bool) -> None:
        """Record host memory beside GPUs when it tells something; None where it is not read."""
        if reading is None:
            return
        record = host_record(reading, short=short)
        if _is_news(self._host, record, self._clock(), HOST_SECONDS, host_differs):
            self._host = _Kept(seconds=self._clock(), record=record)
            self._write(record)

    def processes(self, device: DeviceId, seen: tuple[ProcessUse, ...]) -> None:
        """Record who uses a device, to explain a decision; nothing if nobody told."""
        if seen:
            self._write(ProcessesSeen(device=device, used_bytes={str(one.process): one.used_bytes for one in seen}))

    def foreseen(self, device: DeviceId, predictions: Predictions) -> None:
        """Record predictions that are new, and those that have ended."""
        for record in records_of(device, self._foreseen.get(device, ()), predictions):
            self._write(record)
        self._foreseen[device] = predictions.open

    def happened(self, events: tuple[GpuEvent, ...]) -> None:
        """Record what happened to devices."""
        for event in events:
            self._write(DeviceEvent(device=event.device, event=event.kind, number=event.number))

    def expired(self, overrides: tuple[Override, ...]) -> None:
        """Record overrides that ran out."""
        for override in overrides:
            self._write(OverrideChanged(change="expired", requested_by=override.set_by, override=override))

    def thawed(self, freeze: Freeze | None) -> None:
        """Record a freeze that ran out, if one did."""
        if freeze is not None:
            self._write(FreezeChanged(change="expired", requested_by=freeze.set_by, freeze=freeze))

    def _tells_nothing(self, view: LinkView) -> bool:
        """Tell whether a service is as it was when all of it was recorded, and not due to be recorded as it is."""
        looked, kept = self._looked.get(view.service), self._reports.get(view.service)
        due = kept is None or self._clock() - kept.seconds >= REPORT_SECONDS
        return looked is not None and not due and tells_the_same(looked, view)

    def _service(self, view: LinkView) -> None:
        record = ServiceChanged(
            service=view.service,
            device=view.device.device,
            governed=view.governed,
            reason=view.reason,
            epoch=view.epoch,
            instance_id=view.instance_id,
        )
        if self._services.get(view.service) != record:
            self._services[view.service] = record
            self._write(record)

    def _report(self, view: LinkView, report: ResidencyReport) -> None:
        record = Reported(service=view.service, device=view.device.device, report=report)
        if _is_news(self._reports.get(view.service), record, self._clock(), REPORT_SECONDS, _report_differs):
            self._reports[view.service] = _Kept(seconds=self._clock(), record=record)
            self._write(record)

    def _demand(self, view: LinkView, report: ResidencyReport) -> bool:
        """Record what was asked for, no more often than each second; tells whether something waits for that."""
        last, now = self._demands.get(view.service), _demand(view, report, self._clock())
        if last is None or last.instance_id != now.instance_id:
            self._demands[view.service] = now
            return False
        used = {name: uses - last.uses.get(name, 0) for name, uses in now.uses.items()}
        waits = now.restore_waits - last.restore_waits
        is_news = any(used.values()) or now.claims != last.claims
        if waits or (is_news and now.seconds - last.seconds >= DEMAND_SECONDS):
            self._demands[view.service] = now
            self._write(
                Demanded(
                    service=view.service,
                    uses={name: uses for name, uses in used.items() if uses},
                    restore_waits=waits,
                    restore_wait_seconds=round(now.restore_wait_seconds - last.restore_wait_seconds, 9),
                    claims=now.claims,
                )
            )
            return False
        return is_news

    def _forget(self, gone: set[ServiceName]) -> None:
        for service in gone:
            self._services.pop(service)
            self._reports.pop(service, None)
            self._demands.pop(service, None)
            self._refusals.pop(service, None)
            self._looked.pop(service, None)


def decision_record(basis: Basis, decision: Decision) -> DecisionMade:
    """Return what the journal says of a decision."""
    return DecisionMade(
        device=basis.seen.sample.device,
        pressure=decision.pressure,
        reason=decision.reason,
        evict=_names(decision.evict),
        restore=_names(decision.restore),
        trim=decision.trim,
        to_disk=_names(decision.to_disk),
        to_host=_names(decision.to_host),
        basis=basis,
    )


def _names(named: tuple[Named, ...]) -> tuple[str, ...]:
    return tuple(f"{service}/{module}" for service, module in named)


def _sampled(seen: Observation, decision: Decision) -> Sampled:
    sample = seen.sample
    if isinstance(sample, MemorySample):
        total_bytes, free_bytes, error, lost = sample.total_bytes, sample.free_bytes, "", False
    else:
        total_bytes, free_bytes, error, lost = 0, 0, sample.reason, sample.lost
    return Sampled(
        device=sample.device,
        pressure=decision.pressure,
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        error=error,
        lost=lost,
        confirms=seen.confirmed,
    )


def _demand(view: LinkView, report: ResidencyReport, now_seconds: float) -> _Demand:
    return _Demand(
        seconds=now_seconds,
        instance_id=view.instance_id,
        uses={status.module: status.uses for status in report.modules},
        claims={status.module: status.claims for status in report.modules if status.claims},
        restore_waits=report.restore_waits,
        restore_wait_seconds=report.restore_wait_seconds,
    )


def _is_news(
    last: _Kept[Kind] | None,
    record: Kind,
    now_seconds: float,
    longest_seconds: float,
    differs: Callable[[Kind, Kind], bool],
) -> bool:
    return last is None or now_seconds - last.seconds >= longest_seconds or differs(last.record, record)


def _sample_differs(before: Sampled, after: Sampled) -> bool:
    moved_bytes = abs(after.free_bytes - before.free_bytes)
    stands = (before.pressure, before.error, before.total_bytes) != (after.pressure, after.error, after.total_bytes)
    return stands or moved_bytes >= SAMPLE_SHARE * after.total_bytes > 0


def _report_differs(before: Reported, after: Reported) -> bool:
    return before.device != after.device or _telling(before.report) != _telling(after.report)


def _telling(report: ResidencyReport) -> tuple[object, ...]:
    modules = tuple((status.module, status.tier, status.state, status.pinned) for status in report.modules)
    versions = (report.epoch, report.accepted_version, report.applied_version)
    kept_pieces = 0 if report.usage is None else report.usage.kept_bytes // KEPT_BYTES
    return modules, versions, report.budget_bytes, report.pending_moves, kept_pieces
