"""What the daemon counts and tells: memory among its marks, services, ticks, and what it decided."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from memory_daemon.config import DaemonConfig
from memory_daemon.journal_records import Record, Refused
from memory_daemon.metrics import Metrics
from memory_daemon.metrics_records import SERVICES_TOLD_APART, RecordMetrics
from memory_daemon.metrics_ticks import Pace, TickMetrics
from memory_daemon.types import Freeze, ModuleName, Override, OverrideKind, ServiceName
from tests.fakes.daemon_world import World
from tests.fakes.manual_clock import ManualClock
from tests.fakes.metered import RECORDS, journal_in, shared_host, small_world, values


def watched(world: World, folder: Path) -> dict[str, float]:
    """Return what is told of a machine now."""
    metrics = Metrics(DaemonConfig(), version="1.2.3")
    metrics.watch(world.board, journal_in(folder))
    return values(metrics.registry)


def ticked(world: World, *used_bytes: int) -> dict[str, float]:
    """Return what is counted over so many seconds, with so much used by others in each."""
    registry = CollectorRegistry()
    ticks = TickMetrics(registry)
    for used in used_bytes:
        world.memory.used_bytes = used
        world.run(1.0)
        ticks.ticked(0.001, world.board.status)
        ticks.ticked(0.001, world.board.status)
    return values(registry)


def test_memory_is_told_beside_its_marks(tmp_path: Path) -> None:
    """What is free, the marks in bytes, and where memory stands among them."""
    world = small_world(tmp_path)
    world.tick()
    found = watched(world, tmp_path)

    assert (500.0, 100.0, 200.0, 300.0, 1.0, 0.0) == (
        found['greenroom_daemon_memory_free_bytes{device="host"}'],
        found['greenroom_daemon_mark_bytes{device="host",mark="critical"}'],
        found['greenroom_daemon_mark_bytes{device="host",mark="low"}'],
        found['greenroom_daemon_mark_bytes{device="host",mark="high"}'],
        found['greenroom_daemon_pressure{device="host",pressure="room"}'],
        found['greenroom_daemon_pressure{device="host",pressure="critical"}'],
    )


def test_machine_with_gpus_tells_of_shares_and_host_memory(tmp_path: Path) -> None:
    """How a device is divided, what floors promise too much, and whether processes wait for host memory."""
    world = small_world(tmp_path)
    world.tick()
    alone = watched(world, tmp_path)
    world.board.publish(shared_host(world.board.status))
    found = watched(world, tmp_path)

    assert "greenroom_daemon_host_free_bytes" not in alone
    assert (300.0, 7.0, 10.0, 1.0, 0.25, 0.05) == (
        found['greenroom_daemon_service_share_bytes{device="host",service="speech"}'],
        found['greenroom_daemon_overdraft_bytes{device="host"}'],
        found["greenroom_daemon_host_free_bytes"],
        found["greenroom_daemon_host_short"],
        found['greenroom_daemon_host_waiting_ratio{who="some"}'],
        found['greenroom_daemon_host_waiting_ratio{who="all"}'],
    )


def test_memory_that_cannot_be_read_has_no_numbers(tmp_path: Path) -> None:
    """A failed reading is no zero: the series are gone, and one says so."""
    world = small_world(tmp_path)
    world.memory.failure = "the driver is gone"
    world.tick()
    found = watched(world, tmp_path)

    assert 0.0 == found['greenroom_daemon_memory_readable{device="host"}']
    assert 'greenroom_daemon_memory_free_bytes{device="host"}' not in found


def test_services_are_told_with_their_link_and_report(tmp_path: Path) -> None:
    """Whether a service is governed, and what its last report said: here, that its module had to leave."""
    world = small_world(tmp_path)
    world.run(60.0)
    at_home = watched(world, tmp_path)
    world.memory.used_bytes = 550
    world.run(10.0)
    found = watched(world, tmp_path)

    assert 0.0 == at_home['greenroom_daemon_service_modules_away{service="speech"}']
    assert (1.0, 0.0, 1.0) == (
        found['greenroom_daemon_link_state{service="speech",state="governing"}'],
        found['greenroom_daemon_link_state{service="speech",state="superseded"}'],
        found['greenroom_daemon_service_modules_away{service="speech"}'],
    )


def test_what_operators_hold_back_is_told(tmp_path: Path) -> None:
    """A freeze, a dry run and overrides are there to be seen before they are forgotten."""
    world = small_world(tmp_path)
    world.tick()
    free = watched(world, tmp_path)
    world.overrides.set_freeze(Freeze(start_unix_seconds=world.unix_clock()))
    world.overrides.set(Override(service=ServiceName("speech"), module=ModuleName("voice"), kind=OverrideKind.PIN))
    world.tick()
    found = watched(world, tmp_path)
    names = ("greenroom_daemon_frozen", "greenroom_daemon_dry_run", 'greenroom_daemon_overrides{kind="pin"}')

    assert [(0.0, 1.0), (0.0, 0.0), (0.0, 1.0)] == [(free[name], found[name]) for name in names]


def test_time_below_a_mark_adds_up(tmp_path: Path) -> None:
    """Each reading's pressure lasts until the next one, and a reading is counted once however often it is seen."""
    world = small_world(tmp_path)
    world.found.clear()
    found = ticked(world, 100, 950, 950, 100)

    assert (2.0, 1.0, 4.0) == (
        round(found['greenroom_daemon_pressure_seconds_total{device="host",pressure="critical"}'], 1),
        round(found['greenroom_daemon_pressure_seconds_total{device="host",pressure="room"}'], 1),
        found['greenroom_daemon_samples_total{device="host"}'],
    )


def test_failed_readings_are_counted_by_kind(tmp_path: Path) -> None:
    """Each failed reading counts, and the kinds that have not been seen are there with 0."""
    world = small_world(tmp_path)
    world.memory.failure = "lost"
    found = ticked(world, 100)

    assert (1.0, 0.0, 0.0) == (
        found['greenroom_daemon_sample_failures_total{device="host",fault="other"}'],
        found['greenroom_daemon_sample_failures_total{device="host",fault="gpu_lost"}'],
        found['greenroom_daemon_samples_total{device="host"}'],
    )


def test_pace_tells_work_and_oversleeping_apart() -> None:
    """Time between two rests is work; what a rest took beyond what was asked for is lag, and an early call is none."""
    clock, worked, late = ManualClock(), list[float](), list[float]()
    pace = Pace(clock=clock, worked=worked.append, overslept=late.append)
    clock.advance(0.25)
    pace.rest(0.0, 0.0)
    clock.advance(0.5)
    pace.wake()
    pace.rest(0.0, 5.0)

    assert ([0.25, 0.5], [0.0, -5.0]) == (worked, late)


def test_records_are_counted_and_written() -> None:
    """Whatever goes into the journal is counted on its way, and reaches it."""
    registry, written = CollectorRegistry(), list[Record]()
    write = RecordMetrics(registry).counted(written.append)
    for record in RECORDS:
        write(record)
    found = values(registry)

    assert list(RECORDS) == written
    assert (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0) == (
        found['greenroom_daemon_decisions_total{action="evict",device="host"}'],
        found['greenroom_daemon_decisions_total{action="trim",device="host"}'],
        found['greenroom_daemon_ordered_trims_total{service="speech"}'],
        found['greenroom_daemon_ordered_moves_total{move="evict",service="speech"}'],
        found['greenroom_daemon_ordered_moves_total{move="restore",service="speech"}'],
        found['greenroom_daemon_directives_total{sent="true",service="speech"}'],
        found['greenroom_daemon_refused_directives_total{service="speech"}'],
        found['greenroom_daemon_device_events_total{device="GPU-1",event="xid"}'],
        found['greenroom_daemon_ended_predictions_total{ground="time_of_day",outcome="hit"}'],
    )


def test_services_that_come_and_go_do_not_make_series_for_ever() -> None:
    """Beyond a bound they are counted together."""
    registry = CollectorRegistry()
    write = RecordMetrics(registry).counted(lambda _record: None)
    for number in range(SERVICES_TOLD_APART + 50):
        write(Refused(service=ServiceName(f"s{number}"), version=1, reason="no"))
    found = {name: value for name, value in values(registry).items() if "refused" in name}

    assert SERVICES_TOLD_APART + 1 == len(found)
    assert 50.0 == found['greenroom_daemon_refused_directives_total{service="other"}']


def test_alarming_counters_are_there_before_they_rise(tmp_path: Path) -> None:
    """What an alert watches is there with 0 as soon as its service or device is known."""
    registry = CollectorRegistry()
    world = small_world(tmp_path)
    world.tick()
    write = RecordMetrics(registry).counted(lambda _record: None)
    for record in world.records:
        write(record)
    found = values(registry)

    assert (0.0, 0.0) == (
        found['greenroom_daemon_refused_directives_total{service="speech"}'],
        found['greenroom_daemon_device_events_total{device="host",event="xid"}'],
    )


def test_journal_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Each record that is lost counts until one can be written again."""
    (tmp_path / "journal").write_text("a file where the folder should be")
    metrics, journal = Metrics(DaemonConfig(), version="1.2.3"), journal_in(tmp_path)
    metrics.watch(small_world(tmp_path).board, journal)
    journal.write(RECORDS[0])
    lost = values(metrics.registry)["greenroom_daemon_journal_unwritten_records"]
    (tmp_path / "journal").unlink()
    journal.write(RECORDS[0])
    journal.close()

    assert (1.0, 0.0) == (lost, values(metrics.registry)["greenroom_daemon_journal_unwritten_records"])
