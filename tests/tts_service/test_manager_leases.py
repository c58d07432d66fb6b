"""Borrowing modules: leases, claims, and bringing modules home for them."""

import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fakes.fake_modules import FakeModules, fake_residency
from tests.fakes.manual_clock import ManualClock
from tts_service.errors import Reason, ServiceError
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.types import Directive, Placement, Tier
from tts_service.types import ModuleName

A, B, C = ModuleName("a"), ModuleName("b"), ModuleName("c")
SIZES = {"a": 10, "b": 20, "c": 30}
PATIENCE_SECONDS = 10.0


def _away(*modules: ModuleName, version: int = 1, budget: int | None = None) -> Directive:
    placements = tuple(Placement(module=module, tier=Tier.DISK) for module in modules)
    return Directive(epoch=1, version=version, valid_for_seconds=10, budget_bytes=budget, placements=placements)


def _manager(modules: FakeModules, clock: ManualClock) -> ResidencyManager:
    manager = fake_residency(modules, clock=clock)
    manager.load()
    return manager


@pytest.fixture
def modules() -> FakeModules:
    """Three modules of 10, 20 and 30 bytes."""
    return FakeModules(SIZES)


@pytest.fixture
def running(modules: FakeModules) -> Iterator[ResidencyManager]:
    """Start a manager whose thread moves modules."""
    manager = fake_residency(modules, clock=time.monotonic)
    manager.start()
    yield manager
    manager.close()


def _use(manager: ResidencyManager, wanted: Collection[ModuleName], timeout_seconds: float = PATIENCE_SECONDS) -> str:
    with manager.lease(wanted, timeout_seconds=timeout_seconds) as lent:
        return "".join(sorted(lent))


def test_lease_of_modules_at_home_lends_them_all(running: ResidencyManager) -> None:
    """A lease hands over every module that was asked for."""
    with running.lease({A, B}, timeout_seconds=0) as lent:
        names = sorted(lent)

    assert [A, B] == names


def test_lease_that_has_ended_keeps_no_reference(running: ResidencyManager, modules: FakeModules) -> None:
    """What was lent is gone from the borrower's hands, so that an eviction returns its memory."""
    with running.lease({A}, timeout_seconds=0) as lent:
        pass
    running.place(A, Tier.DISK, timeout_seconds=PATIENCE_SECONDS)

    assert ({}, frozenset({B, C}), []) == (lent, modules.loaded(), modules.violations)


def test_lease_is_given_back_when_the_step_fails(running: ResidencyManager) -> None:
    """An error inside a step ends its lease like its end does."""
    with pytest.raises(ZeroDivisionError), running.lease({A}, timeout_seconds=0):
        _ = 1 / 0

    assert 0 == running.report().modules[0].leases


def test_lease_inside_a_lease_is_a_programmer_error(running: ResidencyManager) -> None:
    """One step takes one lease: a second one could wait for what the first one holds."""
    with running.lease({A}, timeout_seconds=0), pytest.raises(AssertionError, match="one lease"):
        _use(running, {B})


def test_lease_of_nothing_or_of_unknown_modules_is_a_programmer_error(running: ResidencyManager) -> None:
    """The pipeline knows its modules."""
    with pytest.raises(AssertionError, match="nothing"):
        _use(running, set())
    with pytest.raises(AssertionError, match="no such"):
        _use(running, {ModuleName("x")})


def test_lease_of_a_module_that_is_away_brings_it_home(running: ResidencyManager, modules: FakeModules) -> None:
    """A request always gets what it needs."""
    running.place(A, Tier.DISK, timeout_seconds=PATIENCE_SECONDS)
    used = _use(running, {A, B})

    assert ("ab", 2) == (used, modules.loads["a"])


def test_lease_that_waits_holds_nothing_meanwhile(running: ResidencyManager, modules: FakeModules) -> None:
    """While one module of a request is restored, its others are free."""
    running.place(A, Tier.DISK, timeout_seconds=PATIENCE_SECONDS)
    modules.gate.clear()
    with ThreadPoolExecutor(1) as step:
        waits = step.submit(_use, running, {A, B})
        placed = running.place(B, Tier.DISK, timeout_seconds=0.05)
        leases = [status.leases for status in running.report().modules]
        modules.gate.set()
        waits.result(PATIENCE_SECONDS)

    assert ([0, 0, 0], 0) == (leases, placed[0].leases)


def test_leases_that_wait_for_the_same_module_share_one_restore(
    running: ResidencyManager, modules: FakeModules
) -> None:
    """Restores are coalesced: ten requests, one loading."""
    running.place(A, Tier.DISK, timeout_seconds=PATIENCE_SECONDS)
    modules.gate.clear()
    with ThreadPoolExecutor(10) as steps:
        waits = [steps.submit(_use, running, {A}) for _ in range(10)]
        modules.gate.set()
        used = [wait.result(PATIENCE_SECONDS) for wait in waits]

    assert (["a"] * 10, 2) == (used, modules.loads["a"])


def test_lease_does_not_wait_for_a_restore_that_it_does_not_need(
    running: ResidencyManager, modules: FakeModules
) -> None:
    """A playing stream is not held up by another's restore."""
    running.place(A, Tier.DISK, timeout_seconds=PATIENCE_SECONDS)
    modules.gate.clear()
    ready = running.prepare({A})
    used = _use(running, {B, C})
    waits = not ready.done()
    modules.gate.set()
    ready.result(PATIENCE_SECONDS)

    assert ("bc", True) == (used, waits)


def test_lease_whose_restore_takes_too_long_is_refused(running: ResidencyManager, modules: FakeModules) -> None:
    """A slow restore ends a request's patience as an engine fault, and asks to try again."""
    running.place(A, Tier.DISK, timeout_seconds=PATIENCE_SECONDS)
    modules.gate.clear()
    try:
        with pytest.raises(ServiceError, match=r"a did not come back within 0\.02 s") as refused:
            _use(running, {A}, timeout_seconds=0.02)
    finally:
        modules.gate.set()

    assert (Reason.ENGINE_FAULT, True) == (refused.value.reason, refused.value.retry_after_seconds is not None)


def test_lease_that_finds_no_room_in_time_is_refused_for_memory(running: ResidencyManager) -> None:
    """What holds the budget is leased for longer than a request's patience: that is a lack of memory."""
    running.place(C, Tier.DISK, timeout_seconds=PATIENCE_SECONDS)
    running.set_directive(_away(budget=30))
    with ThreadPoolExecutor(1) as other, running.lease({A, B}, timeout_seconds=0):
        wait = other.submit(_use, running, {C}, 0.02)
        error = wait.exception(PATIENCE_SECONDS)

    assert isinstance(error, ServiceError)
    assert Reason.DEVICE_MEMORY == error.reason


def test_lease_that_can_never_fit_says_what_it_needs(running: ResidencyManager) -> None:
    """A budget below a step's modules refuses it at once, with both numbers."""
    running.set_directive(_away(budget=25))
    with pytest.raises(ServiceError) as refused:
        _use(running, {A, B})

    assert (Reason.DEVICE_MEMORY, {"needed_bytes": "30", "budget_bytes": "25"}) == (
        refused.value.reason,
        refused.value.metadata,
    )


def test_leases_on_modules_that_exclude_each_other_are_all_served(
    running: ResidencyManager, modules: FakeModules
) -> None:
    """With room for one of two modules, busy steps on one do not starve the other."""
    running.set_directive(_away(budget=30))
    stop = threading.Event()

    def busy() -> int:
        used = 0
        while not stop.is_set():
            used += len(_use(running, {B}))
        return used

    with ThreadPoolExecutor(4) as steps:
        others = [steps.submit(busy) for _ in range(3)]
        served = [_use(running, {C}) for _ in range(20)]
        stop.set()
        used = [other.result(PATIENCE_SECONDS) for other in others]

    assert (["c"] * 20, True, []) == (served, all(used), modules.violations)


def test_prepare_of_modules_at_home_is_done_at_once(modules: FakeModules) -> None:
    """There is nothing to wait for, and nobody has waited."""
    manager = _manager(modules, ManualClock())

    assert (True, 0) == (manager.prepare({A, B}).done(), manager.report().restore_waits)


def test_prepare_brings_modules_home_and_counts_the_wait(modules: FakeModules) -> None:
    """The wait for a restore is counted with its time."""
    clock = ManualClock()
    manager = _manager(modules, clock)
    manager.set_directive(_away(A, B))
    manager.make_moves()
    ready = manager.prepare({A, B})
    early = ready.done()
    clock.advance(2.0)
    manager.make_moves()
    report = manager.report()

    assert (False, True, 1, 2.0) == (early, ready.done(), report.restore_waits, report.restore_wait_seconds)


def test_prepare_that_is_cancelled_is_forgotten(modules: FakeModules) -> None:
    """A client that goes away leaves nothing in the queue."""
    manager = _manager(modules, ManualClock())
    manager.set_directive(_away(A))
    manager.make_moves()
    manager.prepare({A}).cancel()
    manager.make_moves()
    manager.make_moves()

    assert (Tier.DISK, 0) == (manager.report().modules[0].tier, manager.report().restore_waits)


def test_prepare_that_takes_too_long_fails(modules: FakeModules) -> None:
    """Nobody waits for ever, though the restore is still being tried."""
    clock = ManualClock()
    manager = _manager(modules, clock)
    manager.set_directive(_away(A))
    manager.make_moves()
    modules.faults["a"] += [MemoryError()] * 2
    ready = manager.prepare({A})
    manager.make_moves()
    clock.advance(31.0)
    manager.make_moves()
    error = ready.exception(0)

    assert isinstance(error, ServiceError)
    assert Reason.DEVICE_MEMORY == error.reason


def test_prepare_that_waits_behind_one_that_takes_the_room_fails_for_memory(modules: FakeModules) -> None:
    """Who was not even next lacked memory all the same; who was next only waited for its move."""
    clock = ManualClock()
    manager = _manager(modules, clock)
    manager.set_directive(_away(A, B, C, budget=30))
    manager.make_moves()
    first, second = manager.prepare({C}), manager.prepare({B})
    clock.advance(30.0)
    manager.set_activity(sessions=1, queued=0)
    errors = [each.exception(0) for each in (first, second)]

    assert [(Reason.ENGINE_FAULT, True), (Reason.DEVICE_MEMORY, True)] == [
        (error.reason, error.retry_after_seconds is not None) for error in errors if isinstance(error, ServiceError)
    ]


def test_prepare_whose_restore_hangs_fails_at_its_deadline(modules: FakeModules) -> None:
    """A move that does not end delays no answer: time is kept beside it."""
    manager = fake_residency(modules, clock=time.monotonic, restore_timeout_seconds=0.05)
    manager.start()
    manager.place(A, Tier.DISK, timeout_seconds=PATIENCE_SECONDS)
    manager.place(A, None, timeout_seconds=0)
    modules.gate.clear()
    try:
        error = manager.prepare({A}).exception(PATIENCE_SECONDS)
    finally:
        modules.gate.set()
        manager.close()

    assert isinstance(error, ServiceError)
    assert (Reason.ENGINE_FAULT, True) == (error.reason, error.retry_after_seconds is not None)


def test_away_and_expected_time_tell_what_a_request_must_wait_for(modules: FakeModules) -> None:
    """Before a step, its caller can say what it waits for and about how long."""
    clock = ManualClock()
    modules.on_load = lambda _: clock.advance(0.5)
    manager = _manager(modules, clock)
    manager.set_directive(_away(A, C))
    manager.make_moves()

    assert ((A, C), 1.0) == (manager.away((A, B, C)), manager.expected_restore_seconds({A, C}))


def test_expected_time_is_unknown_before_the_first_restore(modules: FakeModules) -> None:
    """What has not been measured is not guessed."""
    manager = fake_residency(modules, clock=ManualClock())

    assert manager.expected_restore_seconds({A}) is None


def test_claim_keeps_a_module_until_it_is_released(modules: FakeModules) -> None:
    """A directive that can wait waits for the open utterance."""
    manager = _manager(modules, ManualClock())
    claim = manager.claim({A})
    manager.set_directive(_away(A))
    kept = manager.make_moves()
    claim.release()

    assert (0, 1) == (kept, manager.make_moves())


def test_claim_released_twice_counts_once(modules: FakeModules) -> None:
    """Every path out of an utterance may release its claim."""
    manager = _manager(modules, ManualClock())
    other = manager.claim({A})
    with manager.claim({A}) as claim:
        claim.release()
    claim.release()

    assert (1, "<Claim on a>", "<Claim released from a>") == (
        manager.report().modules[0].claims,
        repr(other),
        repr(claim),
    )


def test_manager_that_is_closed_refuses_who_waits_and_who_comes(modules: FakeModules) -> None:
    """At the end nobody is left waiting."""
    manager = _manager(modules, ManualClock())
    manager.set_directive(_away(A))
    manager.make_moves()
    waiting = manager.prepare({A})
    manager.close()
    late = manager.prepare({A})
    reasons = [error.reason for error in (waiting.exception(0), late.exception(0)) if isinstance(error, ServiceError)]

    assert [Reason.DRAINING, Reason.DRAINING] == reasons
