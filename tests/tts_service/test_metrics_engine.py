"""Both processes' metrics as one service's: sums that never fall while engines come and go."""

import os
from dataclasses import replace

from prometheus_client import CollectorRegistry

from tests.fakes.metered import device_report
from tts_service.engine_process.report_sums import NO_REPORT, ReportSums
from tts_service.metrics_engine import EngineMetrics, ServiceProcesses
from tts_service.residency.types import ModuleStatus, ResidencyReport, WaitingUsage


def counted(report: ResidencyReport) -> tuple[int, ...]:
    """Return all that a report counts."""
    modules = [(each.uses, each.restores, each.evictions) for each in report.modules]
    device = report.device
    waiting = None if device is None else device.waiting
    waited = () if waiting is None else (waiting.departures, waiting.refusals, round(waiting.away_seconds))
    whole = (report.released_bytes, report.restore_waits, round(report.restore_wait_seconds))
    return (*whole, *(count for module in modules for count in module), *waited)


def busy() -> ResidencyReport:
    """Return a report in which something was counted everywhere."""
    report = device_report()
    assert report.device is not None
    waiting = WaitingUsage(
        used_bytes=1, held_bytes=2, most_bytes=3, segments=1, departures=4, refusals=5, away_seconds=6.0
    )
    modules = tuple(replace(each, uses=3, restores=2, evictions=1, leases=1, claims=1) for each in report.modules)
    device = replace(report.device, waiting=waiting)
    return replace(report, modules=modules, device=device, released_bytes=7, restore_waits=8, restore_wait_seconds=9.0)


def test_counts_go_on_over_engines() -> None:
    """What two engines counted is added up; a third that has counted nothing takes nothing away."""
    sums = ReportSums()
    one = counted(busy())
    sums.reported(busy())
    first = counted(sums.report)
    sums.went()
    away = sums.report
    sums.reported(busy())
    second = counted(sums.report)
    sums.went()
    sums.went()
    third = busy()
    modules = tuple(replace(each, uses=0, restores=0, evictions=0) for each in third.modules)
    assert third.device is not None
    device = replace(third.device, waiting=WaitingUsage())
    nothing = replace(
        third, modules=modules, device=device, released_bytes=0, restore_waits=0, restore_wait_seconds=0.0
    )
    sums.reported(nothing)

    assert one == first
    assert second == counted(sums.report)
    assert tuple(2 * each for each in one) == second
    assert [each.uses for each in sums.report.modules] == [6] * len(modules)
    assert (one[:3], one[3]) == (counted(away)[:3], away.modules[0].uses)


def test_nothing_is_held_or_governed_while_there_is_no_engine() -> None:
    """Gauges follow what is; a module that no process has is not at home."""
    sums = ReportSums()
    sums.reported(busy())
    sums.went()
    away = sums.report

    def held(module: ModuleStatus) -> tuple[bool, int, int, int]:
        return (module.tier is module.home, module.leases, module.claims, sum(module.bytes_by_tier.values()))

    assert {(False, 0, 0, 0)} == {held(each) for each in away.modules}
    assert (0, None, 0, ()) == (away.home_bytes, away.device, away.epoch, away.pending_moves)
    assert NO_REPORT.modules == ()


def test_processes_are_added_up_and_one_that_goes_takes_no_time_with_it() -> None:
    """Memory and descriptors are sums; time used goes on, also before its end was counted elsewhere."""
    children, ended = [os.getpid()], [0.0]
    registry = CollectorRegistry()
    registry.register(ServiceProcesses(lambda: children, lambda: ended[0]))

    def value(name: str) -> float:
        found = registry.get_sample_value(name)
        assert found is not None
        return found

    two_resident, two_cpu, two_open = map(
        value, ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds")
    )
    children.clear()
    one_resident, gone_cpu, one_open = map(
        value, ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds")
    )
    ended[0] = 1_000.0
    children.append(-1)

    assert 1.5 < two_resident / one_resident < 2.5
    assert 1.5 < two_open / one_open < 2.5
    assert gone_cpu >= two_cpu
    assert value("process_cpu_seconds_total") > 1_000.0


def test_restarts_are_there_before_there_was_one() -> None:
    """So that the first one is an increase."""
    registry = CollectorRegistry()
    engine = EngineMetrics(registry)
    before = registry.get_sample_value("greenroom_engine_restarts_total")
    engine.restarted()

    assert (0.0, 1.0) == (before, registry.get_sample_value("greenroom_engine_restarts_total"))
