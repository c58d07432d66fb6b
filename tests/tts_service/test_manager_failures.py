"""Restores that fail: broken modules, missing memory, listeners that raise, and a start that cannot be."""

import time

import pytest
from structlog.testing import capture_logs

from tests.fakes.fake_modules import FakeModules, fake_residency
from tests.fakes.manual_clock import ManualClock
from tts_service.errors import Reason, ServiceError, StartupError
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.types import Directive, ModuleState, Placement, Tier
from tts_service.types import ModuleName

A, B, C = ModuleName("a"), ModuleName("b"), ModuleName("c")
SIZES = {"a": 10, "b": 20, "c": 30}
PATIENCE_SECONDS = 10.0


def _away(*modules: ModuleName) -> Directive:
    placements = tuple(Placement(module=module, tier=Tier.DISK) for module in modules)
    return Directive(epoch=1, version=1, valid_for_seconds=10, placements=placements)


@pytest.fixture
def modules() -> FakeModules:
    """Three modules of 10, 20 and 30 bytes."""
    return FakeModules(SIZES)


@pytest.fixture
def clock() -> ManualClock:
    """Return the manager's clock."""
    return ManualClock()


@pytest.fixture
def manager(modules: FakeModules, clock: ManualClock) -> ResidencyManager:
    """Return a manager with `a` away, which moves when it is told to."""
    manager = fake_residency(modules, clock=clock)
    manager.load()
    manager.set_directive(_away(A))
    manager.make_moves()
    manager.set_directive(None)
    return manager


def _states(manager: ResidencyManager) -> dict[str, ModuleState]:
    return {status.module: status.state for status in manager.report().modules}


def test_restore_that_fails_breaks_the_module_and_nothing_else(manager: ResidencyManager, modules: FakeModules) -> None:
    """Who waits is told without the path that the cause may name, the log says why, and the other modules work on."""
    modules.faults["a"].append(ValueError("/home/ann/.cache/a.safetensors is damaged"))
    waits = manager.prepare({A, B})
    with capture_logs() as logs:
        manager.make_moves()
    with manager.lease({B, C}, timeout_seconds=0) as lent:
        others = sorted(lent)
    error = waits.exception(0)

    assert isinstance(error, ServiceError)
    assert (Reason.ENGINE_FAULT, "a could not be brought back; the service's log says why") == (
        error.reason,
        error.message,
    )
    assert ({A: ModuleState.BROKEN, B: ModuleState.RESTING, C: ModuleState.RESTING}, [B, C]) == (
        _states(manager),
        others,
    )
    assert [("module_broken", "error", True)] == [
        (each["event"], each["log_level"], bool(each["exc_info"])) for each in logs
    ]


def test_request_for_a_broken_module_tries_again(manager: ResidencyManager, modules: FakeModules) -> None:
    """A fault that has passed is mended by the next request."""
    modules.faults["a"].append(ValueError("disk was busy"))
    manager.prepare({A})
    manager.make_moves()
    again = manager.prepare({A})
    manager.make_moves()

    assert (None, ModuleState.RESTING) == (again.exception(0), _states(manager)[A])


def test_request_for_a_module_that_stays_broken_fails_after_one_try(
    manager: ResidencyManager, modules: FakeModules
) -> None:
    """Each request costs one attempt; nothing is tried in between."""
    modules.faults["a"] += [ValueError("gone")] * 3
    errors = []
    for _ in range(2):
        waits = manager.prepare({A})
        manager.make_moves()
        manager.make_moves()
        errors.append(waits.exception(0))

    assert ([True, True], 1) == ([isinstance(error, ServiceError) for error in errors], len(modules.faults["a"]))


def test_lease_on_a_broken_module_fails_as_an_engine_fault(modules: FakeModules) -> None:
    """A step whose module cannot be brought back is told so, not kept waiting."""
    manager = fake_residency(modules, clock=time.monotonic)
    manager.start()
    manager.place(A, Tier.DISK, timeout_seconds=PATIENCE_SECONDS)
    manager.place(A, None, timeout_seconds=0)
    modules.faults["a"].append(ValueError("gone"))
    try:
        with pytest.raises(ServiceError) as failed, manager.lease({A}, timeout_seconds=PATIENCE_SECONDS):
            pass
    finally:
        manager.close()

    assert (Reason.ENGINE_FAULT, {"module": "a"}) == (failed.value.reason, failed.value.metadata)


def test_operator_may_mend_a_broken_module(manager: ResidencyManager, modules: FakeModules) -> None:
    """Placing a broken module at home tries again."""
    modules.faults["a"] += [ValueError("gone")]
    manager.prepare({A})
    manager.make_moves()
    reason = manager.place(A, Tier.HOST, timeout_seconds=0)[1]
    manager.make_moves()

    assert ("moving", ModuleState.RESTING) == (reason, _states(manager)[A])


def test_place_of_a_module_that_cannot_be_loaded_says_that_it_is_broken(modules: FakeModules) -> None:
    """An operator is told that nothing comes of it, before the patience is over."""
    manager = fake_residency(modules, clock=time.monotonic)
    manager.start()
    manager.place(A, Tier.DISK, timeout_seconds=PATIENCE_SECONDS)
    modules.faults["a"].append(ValueError("gone"))
    status, reason = manager.place(A, Tier.HOST, timeout_seconds=PATIENCE_SECONDS)
    manager.close()

    assert (ModuleState.BROKEN, "broken") == (status.state, reason)


def test_restore_without_memory_evicts_colder_modules_and_tries_again(
    manager: ResidencyManager, modules: FakeModules, clock: ManualClock
) -> None:
    """Memory that the budget promised and the machine has not is taken from the coldest."""
    with manager.lease({B}, timeout_seconds=0):
        pass
    modules.capacity_bytes = 55
    ready = manager.prepare({A})
    manager.make_moves()
    early = ready.done()
    clock.advance(0.05)
    manager.make_moves()

    assert (False, True, frozenset({A, B}), 1) == (early, ready.done(), modules.loaded(), modules.loads["b"])


def test_restore_without_memory_is_retried_until_another_lets_go(
    manager: ResidencyManager, modules: FakeModules, clock: ManualClock
) -> None:
    """When there is nobody to evict, the restore is tried at growing intervals within the request's time."""
    modules.capacity_bytes = 5
    ready = manager.prepare({A})
    for _ in range(30):
        clock.advance(0.25)
        manager.make_moves()
    early = ready.done()
    modules.capacity_bytes = None
    clock.advance(0.5)
    manager.make_moves()

    assert (False, True, ModuleState.RESTING) == (early, ready.done(), _states(manager)[A])


def test_restore_without_memory_evicts_nobody_who_is_leased(manager: ResidencyManager, modules: FakeModules) -> None:
    """A lack of memory is no reason to take what is in use."""
    modules.capacity_bytes = 50
    with manager.lease({B, C}, timeout_seconds=0) as lent, modules.using(lent):
        manager.prepare({A})
        manager.make_moves()
        manager.make_moves()
        loaded = modules.loaded()

    assert (frozenset({B, C}), []) == (loaded, modules.violations)


@pytest.mark.parametrize("fault", [ValueError("damaged"), MemoryError(), StartupError("cannot write there")])
def test_module_that_cannot_be_loaded_at_the_start_stops_it(fault: Exception, clock: ManualClock) -> None:
    """The service does not start without one of its modules."""
    modules = FakeModules(SIZES)
    modules.faults["b"].append(fault)

    with pytest.raises(StartupError, match="b"):
        fake_residency(modules, clock=clock).load()


def test_listener_that_fails_disturbs_neither_the_change_nor_the_others(manager: ResidencyManager) -> None:
    """A fault in one listener is logged and is nobody else's."""
    told: list[str] = []

    def failing() -> None:
        raise ValueError

    manager.subscribe(failing)
    manager.subscribe(lambda: told.append("told"))
    with capture_logs() as logs:
        manager.set_activity(sessions=1, queued=0)

    assert (["told"], ["residency_listener_failed"]) == (told, [each["event"] for each in logs])
