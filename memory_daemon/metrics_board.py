"""Tells how memory and services stand, for `/metrics`: read from the newest status when a scrape asks."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from memory_daemon.board import DeviceStatus, Status
from memory_daemon.link_view import LinkState, LinkView
from memory_daemon.types import MemorySample, Override, OverrideKind, Pressure, ResidencyReport
from memory_daemon.usage import HostReading

Value = TypeVar("Value")

PREFIX = "greenroom_daemon_"


class BoardCollector(Collector):
    """Reads the board for every scrape; waits for nobody. `unix_clock` tells how old a reading is."""

    def __init__(self, status: Callable[[], Status], *, unix_clock: Callable[[], float]) -> None:
        self._status = status
        self._unix_clock = unix_clock

    def collect(self) -> Iterator[Metric]:
        """Yield what is."""
        status, now_seconds = self._status(), self._unix_clock()
        yield from _memory(status.devices)
        yield _age(status.devices, now_seconds)
        yield from _ledger(status.devices)
        if status.host is not None:
            yield from _host(status.host, is_short=status.host_short)
        yield from _links(status.services)
        yield from _reports([(view.service, view.report) for view in status.services if view.report], now_seconds)
        yield from _waits([(view.service, view.report) for view in status.services if view.report])
        yield from _tuning(status)

    def __repr__(self) -> str:
        return "<BoardCollector>"


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, words, labels=labels)


def _memory(devices: tuple[DeviceStatus, ...]) -> Iterator[Metric]:
    readable = _gauge("memory_readable", "Whether the newest reading of a device's memory succeeded.", "device")
    total = _gauge("memory_total_bytes", "A device's memory.", "device")
    free = _gauge("memory_free_bytes", "What of it is free.", "device")
    mark = _gauge("mark_bytes", "A mark of free memory: critical, low or high.", "device", "mark")
    pressure = _gauge("pressure", "1 for where memory stands among the marks, 0 for all else.", "device", "pressure")
    for each in devices:
        name = each.sample.device
        readable.add_metric((name,), isinstance(each.sample, MemorySample))
        if isinstance(each.sample, MemorySample):
            total.add_metric((name,), each.sample.total_bytes)
            free.add_metric((name,), each.sample.free_bytes)
        if each.marks is not None:
            mark.add_metric((name, "critical"), each.marks.critical_bytes)
            mark.add_metric((name, "low"), each.marks.low_bytes)
            mark.add_metric((name, "high"), each.marks.high_bytes)
        for one in Pressure:
            pressure.add_metric((name, one.value), each.pressure is one)
    return iter((readable, total, free, mark, pressure))


def _age(devices: tuple[DeviceStatus, ...], now_seconds: float) -> Metric:
    age = _gauge("sample_age_seconds", "How old the newest reading of a device is.", "device")
    for each in devices:
        age.add_metric((each.sample.device,), max(0.0, now_seconds - each.sample.unix_seconds))
    return age


def _ledger(devices: tuple[DeviceStatus, ...]) -> Iterator[Metric]:
    share = _gauge("service_share_bytes", "What a service was given of a device, by budget.", "device", "service")
    overdraft = _gauge("overdraft_bytes", "What services' floors promise beyond what a device has.", "device")
    expected = _gauge("open_predictions", "Modules that were called home and are expected to be used.", "device")
    for each in devices:
        name = each.sample.device
        for service, size_bytes in each.budgets.items():
            share.add_metric((name, service), size_bytes)
        overdraft.add_metric((name,), each.overdraft_bytes)
        expected.add_metric((name,), len(each.predictions.open))
    return iter((share, overdraft, expected))


def _host(host: HostReading, *, is_short: bool) -> Iterator[Metric]:
    yield GaugeMetricFamily(PREFIX + "host_total_bytes", "Host memory beside GPUs.", host.total_bytes)
    yield GaugeMetricFamily(PREFIX + "host_free_bytes", "What of it is free.", host.free_bytes)
    yield GaugeMetricFamily(PREFIX + "host_short", "Whether idle modules must give up host memory.", is_short)
    waiting = _gauge("host_waiting_ratio", "Share of time that some process, or all, waited for host memory.", "who")
    for who, percent in (("some", host.some_percent), ("all", host.full_percent)):
        if percent is not None:
            waiting.add_metric((who,), percent / 100)
    yield waiting


def _links(services: tuple[LinkView, ...]) -> Iterator[Metric]:
    state = _gauge("link_state", "1 for how it stands with a service, 0 for all else.", "service", "state")
    sent = _gauge("directive_sent_version", "The newest directive that a service was sent; 0 for none.", "service")
    for view in services:
        for one in LinkState:
            state.add_metric((view.service, one.value), view.state is one)
        sent.add_metric((view.service,), view.directive_version)
    return iter((state, sent))


def _reports(reports: list[tuple[str, ResidencyReport]], now_seconds: float) -> Iterator[Metric]:
    age = _gauge("report_age_seconds", "How old a service's last report is.", "service")
    applied = _gauge("directive_applied_version", "The newest directive that a service has carried out.", "service")
    held = _gauge("service_home_bytes", "What a service's modules hold where they compute.", "service")
    budget = _gauge("service_budget_bytes", "What they may hold there; absent without a bound.", "service")
    away = _gauge("service_modules_away", "Modules of a service that are not where they compute.", "service")
    pending = _gauge("service_pending_moves", "Moves that a service cannot make yet.", "service")
    for service, report in reports:
        age.add_metric((service,), max(0.0, now_seconds - report.unix_seconds))
        applied.add_metric((service,), report.applied_version)
        held.add_metric((service,), report.home_bytes)
        if report.budget_bytes is not None:
            budget.add_metric((service,), report.budget_bytes)
        away.add_metric((service,), sum(not status.at_home for status in report.modules))
        pending.add_metric((service,), len(report.pending_moves))
    return iter((age, applied, held, budget, away, pending))


def _waits(reports: list[tuple[str, ResidencyReport]]) -> Iterator[Metric]:
    waits = CounterMetricFamily(
        PREFIX + "service_restore_waits", "Requests to a service that waited for a restore.", labels=("service",)
    )
    seconds = CounterMetricFamily(
        PREFIX + "service_restore_wait_seconds", "How long they waited, together.", labels=("service",)
    )
    for service, report in reports:
        waits.add_metric((service,), report.restore_waits)
        seconds.add_metric((service,), report.restore_wait_seconds)
    return iter((waits, seconds))


def _tuning(status: Status) -> Iterator[Metric]:
    policy = status.kept.policy
    yield GaugeMetricFamily(
        PREFIX + "policy_revision", "How often operators have changed the policy.", status.kept.revision
    )
    yield GaugeMetricFamily(PREFIX + "dry_run", "Whether directives are decided and not sent.", policy.dry_run)
    yield GaugeMetricFamily(PREFIX + "frozen", "Whether an operator has stopped all moves.", status.freeze is not None)
    yield _overrides(status.overrides)


def _overrides(overrides: tuple[Override, ...]) -> Metric:
    found = _gauge("overrides", "Operators' wishes for modules that are in force.", "kind")
    for kind in OverrideKind:
        found.add_metric((kind.value,), sum(override.kind is kind for override in overrides))
    return found
