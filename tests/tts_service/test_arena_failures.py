"""A driver that fails at any step: out of memory takes nothing, and what cannot be mended is told and stays broken."""

from collections.abc import Callable

import pytest
import torch
from structlog.testing import capture_logs

from tests.fakes.arena_residency import ADOPT_FROM_BYTES, arena_residency, arena_weights
from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tests.fakes.fake_device import FakeDevice
from tests.fakes.manual_clock import ManualClock
from tests.fakes.torch_networks import PackedNetwork, TinyNetwork, weights_of
from tts_service.errors import Reason, ServiceError
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.device_driver import DeviceDriverError, DeviceMemoryError
from tts_service.residency.types import ModuleState, Tier
from tts_service.types import ModuleName

A = ModuleName("a")
STEPS = ("create", "map", "set_access", "release", "copy", "copy", "copied")
"""Of a restore of `_network()`: a part that is taken over, one that is packed."""

EVERY_STEP = pytest.mark.parametrize("number", range(1, len(STEPS) + 1), ids=lambda n: f"{n}-{STEPS[n - 1]}")


class RelapsingDevice(FakeDevice):
    """Has something done whenever torch's cache is given back: what failed may fail again then."""

    def __init__(self) -> None:
        super().__init__()
        self.then: Callable[[], None] = lambda: None
        self.given_back = 0

    def give_back(self) -> None:
        """Do it."""
        self.given_back += 1
        self.then()


def _weights(driver: FakeCudaDriver, device: FakeDevice) -> ArenaWeights:
    return ArenaWeights(driver, device, gate=CaptureGate(), adopt_from_bytes=1 << 12)


def _network() -> PackedNetwork:
    return PackedNetwork(16, 4)


def _arena(driver: FakeCudaDriver, device: FakeDevice) -> tuple[ArenaWeights, PackedNetwork]:
    """Return weights with a module that was on the device once."""
    weights, module = _weights(driver, device), _network()
    weights.restore(A, module)
    weights.evict(A)
    return weights, module


def test_steps_of_a_restore_are_those_that_fail_here() -> None:
    """The tests below leave no step out."""
    driver = FakeCudaDriver()
    weights, module = _arena(driver, FakeDevice())
    driver.calls.clear()
    weights.restore(A, module)

    assert list(STEPS) == driver.calls


@EVERY_STEP
def test_step_without_memory_leaves_the_module_on_the_host_and_nothing_mapped(number: int) -> None:
    """Twice, because torch's cache is given back and the restore tried again; the next restore succeeds."""
    driver, device = FakeCudaDriver(), RelapsingDevice()
    weights, module = _arena(driver, device)
    addresses, expected = weights.addresses(), weights_of(_network())
    device.then = lambda: driver.fail_at(number)
    driver.fail_at(number)
    with pytest.raises(DeviceMemoryError):
        weights.restore(A, module)
    left = driver.physical_bytes, driver.mapped_bytes, weights.mapped_bytes, weights.failures
    weights.restore(A, module)

    assert ((0, 0, 0, {}), 1, addresses) == (left, device.given_back, weights.addresses())
    assert all(map(torch.equal, expected, weights_of(module)))


@EVERY_STEP
def test_step_without_memory_succeeds_when_torch_gives_its_cache_back(number: int) -> None:
    """One shortage alone is not even noticed."""
    driver, device = FakeCudaDriver(), RelapsingDevice()
    weights, module = _arena(driver, device)
    driver.fail_at(number)
    byte_count = weights.restore(A, module)

    assert (1, byte_count) == (device.given_back, driver.physical_bytes)
    assert all(map(torch.equal, weights_of(_network()), weights_of(module)))


@EVERY_STEP
def test_step_that_fails_otherwise_is_not_tried_again(number: int) -> None:
    """It is no shortage; what was done is taken back, and the error is the driver's."""
    driver, device = FakeCudaDriver(), RelapsingDevice()
    weights, module = _arena(driver, device)
    driver.fail_at(number, DeviceDriverError)
    with pytest.raises(DeviceDriverError, match="failed on purpose"):
        weights.restore(A, module)

    assert (0, 0, {}) == (device.given_back, driver.physical_bytes, weights.failures)


@EVERY_STEP
def test_driver_that_fails_from_some_step_on_breaks_the_arena_or_nothing(number: int) -> None:
    """Where not even a step's undoing works, the arena is broken for good, and everybody is told the same error."""
    driver, device = FakeCudaDriver(), RelapsingDevice()
    weights, module = _arena(driver, device)
    driver.fail_from(number, DeviceDriverError)
    with capture_logs() as logs, pytest.raises(DeviceDriverError):
        weights.restore(A, module)
    driver.heal()
    events = {each["event"] for each in logs}

    if weights.failures:
        with pytest.raises(DeviceDriverError, match="failed on purpose"):
            weights.restore(A, module)
    assert ({A} if STEPS[number - 1] in ("copy", "copied") else set()) == set(weights.failures)
    assert ({"arena_broken"} if weights.failures else set()) == events & {"arena_broken"}


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 7, 8])
def test_first_restore_without_memory_can_be_made_again(number: int) -> None:
    """Also where addresses could not be reserved; host memory that cannot be locked costs only the rate."""
    driver, device, module = FakeCudaDriver(), RelapsingDevice(), _network()
    weights, expected = _weights(driver, device), weights_of(module)
    device.then = lambda: driver.fail_from(1)
    driver.fail_at(number)
    with capture_logs():
        try:
            weights.restore(A, module)
        except DeviceMemoryError:
            driver.heal()
            assert (0, {}) == (driver.physical_bytes, weights.failures)
            weights.restore(A, module)

    assert all(map(torch.equal, expected, weights_of(module)))


def test_host_memory_that_cannot_be_locked_is_copied_as_it_is() -> None:
    """The log says so."""
    driver, module = FakeCudaDriver(), _network()
    driver.fail_calls("register", times=2)
    with capture_logs() as logs:
        _weights(driver, FakeDevice()).restore(A, module)

    assert (["host_memory_not_pinned"] * 2, 2) == ([each["event"] for each in logs], driver.pageable_copies)
    assert all(map(torch.equal, weights_of(_network()), weights_of(module)))


def test_eviction_that_fails_breaks_the_arena_and_is_told() -> None:
    """Nothing is said to be released, the books still count it, and the next restore is refused."""
    driver = FakeCudaDriver()
    weights, module = _arena(driver, FakeDevice())
    byte_count = weights.restore(A, module)
    driver.fail_calls("unmap", error=DeviceDriverError)
    with capture_logs() as logs:
        released_bytes = weights.evict(A)
    with pytest.raises(DeviceDriverError, match="failed on purpose"):
        weights.restore(A, module)

    assert (0, byte_count, [A]) == (released_bytes, weights.usage().allocated_bytes, list(weights.failures))
    assert [("arena_broken", "a")] == [(each["event"], each["module"]) for each in logs]


def test_context_that_is_lost_is_told_by_every_move() -> None:
    """Work that met an illegal address leaves nothing to be done here but to say so."""
    driver = FakeCudaDriver()
    weights, module = _arena(driver, FakeDevice())
    weights.restore(A, module)
    driver.lost = "an illegal memory access was encountered"
    with capture_logs():
        released_bytes = weights.evict(A)
    with pytest.raises(DeviceDriverError, match="illegal memory access"):
        weights.restore(ModuleName("b"), TinyNetwork(8, 1))

    assert (0, [A]) == (released_bytes, list(weights.failures))


def test_copies_that_fail_after_they_began_leave_nothing_mapped_or_a_broken_arena() -> None:
    """Where the device is lost while weights are on their way, the restore says so."""
    driver = FakeCudaDriver()
    weights, module = _arena(driver, FakeDevice())

    def lost(stream_key: int, end: int) -> None:
        driver.lost = f"stream {stream_key} failed before {end}"
        raise DeviceDriverError("wait", driver.lost)

    driver.reach = lost
    with capture_logs(), pytest.raises(DeviceDriverError, match="stream 0 failed"):
        weights.restore(A, module)

    assert [A] == list(weights.failures)


@EVERY_STEP
def test_manager_keeps_a_module_on_the_host_until_there_is_memory_and_others_speak(number: int) -> None:
    """A hog that leaves lets the module come; a module that is there is lent meanwhile."""
    driver, clock = FakeCudaDriver(), ManualClock()
    weights = arena_weights(driver, adopt_from_bytes=ADOPT_FROM_BYTES)
    manager = arena_residency(weights, clock=clock)
    manager.load()
    manager.place(A, Tier.HOST, timeout_seconds=0)
    manager.make_moves()
    manager.place(A, None, timeout_seconds=0)
    device = weights._device
    device.give_back = lambda: driver.fail_at(number)
    driver.fail_at(number)
    future = manager.prepare({A})
    with capture_logs():
        manager.make_moves()
    status = next(each for each in manager.report().modules if each.module == A)
    books = manager.report().home_bytes, driver.physical_bytes
    with manager.lease({ModuleName("b")}, timeout_seconds=0):
        pass
    del device.give_back
    for _ in range(10):
        clock.advance(1.0)
        manager.make_moves()

    assert (Tier.HOST, ModuleState.RESTING) == (status.tier, status.state)
    assert books[0] == books[1]
    assert future.result(0) is None
    assert driver.physical_bytes == manager.report().home_bytes


def test_manager_refuses_what_a_driver_has_broken() -> None:
    """The reason is ours, and the module is broken in the report."""
    driver, clock = FakeCudaDriver(), ManualClock()
    manager = arena_residency(arena_weights(driver), clock=clock)
    manager.load()
    driver.fail_calls("unmap", error=DeviceDriverError)
    with capture_logs():
        manager.place(A, Tier.HOST, timeout_seconds=0)
        manager.make_moves()
        manager.place(A, None, timeout_seconds=0)
        future = manager.prepare({A})
        manager.make_moves()
    with pytest.raises(ServiceError) as refused:
        future.result(0)
    status = next(each for each in manager.report().modules if each.module == A)

    assert (Reason.ENGINE_FAULT, ModuleState.BROKEN) == (refused.value.reason, status.state)
