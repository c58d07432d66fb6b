"""What the manager tells: reports, announcements, logs, samples of memory."""

import time

import pytest
from structlog.testing import capture_logs

from tests.fakes.fake_modules import PROCESS_BYTES, FakeModules, fake_residency
from tests.fakes.manual_clock import ManualClock
from tts_service.residency.history import Phase
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.move_notes import NOTES_SECONDS
from tts_service.residency.types import Authority, Directive, ModuleState, ModuleStatus, Placement, Tier
from tts_service.types import ModuleName

A, B, C = ModuleName("a"), ModuleName("b"), ModuleName("c")
SIZES = {"a": 10 << 20, "b": 20 << 20, "c": 30 << 20}


@pytest.fixture
def clock() -> ManualClock:
    """Return the manager's clock."""
    return ManualClock(100.0)


@pytest.fixture
def manager(clock: ManualClock) -> ResidencyManager:
    """Return a manager with everything at home, whose loads take half a second."""
    modules = FakeModules(SIZES)
    modules.on_load = lambda _: clock.advance(0.5)
    manager = fake_residency(modules, clock=clock, stay_seconds=5.0)
    manager.load()
    return manager


def _away(*modules: ModuleName, budget: int | None = None) -> Directive:
    placements = tuple(Placement(module=module, tier=Tier.DISK) for module in modules)
    return Directive(epoch=1, version=3, valid_for_seconds=10, budget_bytes=budget, placements=placements)


def test_report_tells_everything_about_a_module(manager: ResidencyManager, clock: ManualClock) -> None:
    """A module's status holds where it is, what it holds, who uses it and how long its moves take."""
    claim = manager.claim({A})
    with manager.lease({A}, timeout_seconds=0):
        clock.advance(3.0)
        status = manager.report().modules[0]
    claim.release()

    assert status == ModuleStatus(
        module=A,
        home=Tier.HOST,
        tier=Tier.HOST,
        state=ModuleState.RESTING,
        bytes_by_tier={Tier.HOST: SIZES["a"]},
        home_bytes=SIZES["a"],
        leases=1,
        claims=1,
        uses=1,
        last_use_unix_seconds=1_700_000_101.5,
        restore_seconds=0.5,
        authority=Authority.DEFAULT,
        restores=1,
        rest=Tier.HOST,
    )


def test_report_tells_everything_about_the_service(manager: ResidencyManager, clock: ManualClock) -> None:
    """Budget, bytes, versions and activity are told; epoch and holder are the governor's."""
    manager.set_activity(sessions=3, queued=2)
    manager.set_directive(_away(C, budget=40 << 20))
    manager.make_moves()
    manager.prepare({C})
    clock.advance(1.0)
    manager.make_moves()
    report = manager.report()

    assert (1_700_000_103.0, 40 << 20, 40 << 20, 3, 3, 0, "", 3, 2) == (
        report.unix_seconds,
        report.budget_bytes,
        report.home_bytes,
        report.accepted_version,
        report.applied_version,
        report.epoch,
        report.holder_id,
        report.sessions,
        report.queued_utterances,
    )
    assert (PROCESS_BYTES + (40 << 20), 50 << 20, 1, 1.5) == (
        report.process_bytes,
        report.released_bytes,
        report.restore_waits,
        report.restore_wait_seconds,
    )


def test_listener_hears_of_changes_and_not_of_leases(manager: ResidencyManager) -> None:
    """Leases come and go with every step; everything else is told once."""
    told: list[str] = []
    unsubscribe = manager.subscribe(lambda: told.append(repr(manager)))
    with manager.lease({A}, timeout_seconds=0):
        pass
    after_lease = len(told)
    manager.set_activity(sessions=1, queued=0)
    manager.set_activity(sessions=1, queued=0)
    after_activity = len(told)
    manager.set_directive(_away(A))
    manager.make_moves()
    after_move = told[-1]
    unsubscribe()
    manager.set_directive(None)

    assert (0, 1, "<Residency a=disk b=host c=host | 0 leases | 50 MiB>", after_move) == (
        after_lease,
        after_activity,
        after_move,
        told[-1],
    )


def test_manager_shows_tiers_leases_and_bytes(manager: ResidencyManager) -> None:
    """The representation is one line that says where everything is."""
    manager.set_directive(_away(C, budget=40 << 20))
    with manager.lease({A, B}, timeout_seconds=0):
        shown = repr(manager)

    assert "<Residency a=host b=host c=host(evicting) | 2 leases | 60 of 40 MiB>" == shown


def test_move_is_logged_once_with_everything(manager: ResidencyManager, clock: ManualClock) -> None:
    """One event for each move: what, from where, to where, how much, how long, and on whose word."""
    clock.advance(NOTES_SECONDS)
    manager.make_moves()
    manager.set_directive(_away(A))
    with capture_logs() as logs:
        for _ in range(2):
            clock.advance(NOTES_SECONDS)
            manager.make_moves()
            manager.prepare({A})
    common = {"event": "module_moved", "log_level": "info", "module": "a", "bytes": SIZES["a"]}

    assert [
        {**common, "source": "HOST", "target": "DISK", "seconds": 0.0, "authority": "directive"},
        {**common, "source": "DISK", "target": "HOST", "seconds": 0.5, "authority": "demand"},
    ] == logs


def test_memory_report_covers_phases_peaks_and_moves(manager: ResidencyManager, clock: ManualClock) -> None:
    """Samples are taken at the start, before moves and after the last, and once a second, and say what was going on."""
    with manager.claim({A}):
        clock.advance(1.0)
        manager.make_moves()
    manager.set_directive(_away(A, B, C))
    manager.make_moves()
    clock.advance(1.0)
    manager.make_moves()
    report = manager.memory_report(2)
    usage = {phase.phase: (phase.samples, phase.peak_home_bytes) for phase in report.phases}

    assert {
        Phase.STARTING: (3, 60 << 20),
        Phase.SPEAKING: (1, 60 << 20),
        Phase.MOVING: (3, 60 << 20),
        Phase.IDLE: (2, 0),
    } == usage
    assert (2, 60 << 20, 60 << 20, 3, 3, 60 << 20, 60 << 20) == (
        len(report.samples),
        report.peak_home_bytes,
        report.all_home_bytes,
        report.restores,
        report.evictions,
        report.restored_bytes,
        report.released_bytes,
    )


def test_manager_that_runs_samples_memory_by_itself() -> None:
    """A started manager takes samples without being asked."""
    manager = fake_residency(FakeModules(SIZES), clock=time.monotonic)
    manager.start()
    begun = len(manager.memory_report(100).samples)
    deadline = time.monotonic() + 10
    while len(manager.memory_report(100).samples) == begun and time.monotonic() < deadline:
        time.sleep(0.05)
    manager.close()

    assert len(manager.memory_report(100).samples) > begun
