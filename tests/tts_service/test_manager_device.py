"""The manager where home is a device: real torch modules, three tiers, a device that is host memory of its own."""

from collections.abc import Callable

import pytest
import torch
from structlog.testing import capture_logs

from tests.fakes.fake_device import FakeDevice
from tests.fakes.manual_clock import ManualClock
from tests.fakes.torch_networks import MAKERS, NETWORKS, TinyNetwork, device_residency
from tts_service.errors import Reason, ServiceError, StartupError
from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.types import Authority, DeviceUsage, Directive, ModuleState, PendingMove, Placement, Tier
from tts_service.types import ModuleName

A, B, C, D = NETWORKS
SIZES = {name: DeviceTensors(FakeDevice()).weigh(make()) for name, make in MAKERS.items()}
HOST_BYTES = 100


@pytest.fixture
def clock() -> ManualClock:
    """Return the manager's clock."""
    return ManualClock()


@pytest.fixture
def device() -> FakeDevice:
    """Return a device without bounds."""
    return FakeDevice()


@pytest.fixture
def manager(device: FakeDevice, clock: ManualClock) -> ResidencyManager:
    """Return a manager with `d` resting on the host, which moves when it is told to."""
    manager = device_residency(device, clock=clock, rest_away={"d"})
    manager.load()
    return manager


def _tiers(manager: ResidencyManager) -> str:
    return " ".join(status.tier.name for status in manager.report().modules)


def _settle(manager: ResidencyManager) -> str:
    while manager.make_moves():
        pass
    return _tiers(manager)


def _directive(**tiers: Tier) -> Directive:
    placements = tuple(Placement(module=ModuleName(name), tier=tier) for name, tier in tiers.items())
    return Directive(epoch=1, version=1, valid_for_seconds=10, placements=placements)


def _place(manager: ResidencyManager, module: ModuleName, tier: Tier) -> None:
    manager.place(module, tier, timeout_seconds=0)
    manager.make_moves()


def test_modules_start_on_the_device_but_for_those_that_rest_on_the_host(
    manager: ResidencyManager, device: FakeDevice
) -> None:
    """What rests away is loaded into host memory and measured, and was never on the device."""
    status = manager.report().modules[3]

    assert ("DEVICE DEVICE DEVICE HOST", SIZES["d"], 0) == (_tiers(manager), status.home_bytes, status.restores)
    assert SIZES["a"] + SIZES["b"] + SIZES["c"] == device.usage().allocated_bytes


def test_modules_that_find_no_room_at_the_start_wait_on_the_host(device: FakeDevice, clock: ManualClock) -> None:
    """The budget bounds what is on the device, not what is loaded."""
    manager = device_residency(device, clock=clock, budget_bytes=SIZES["a"] + SIZES["c"])
    manager.load()

    assert "DEVICE HOST DEVICE HOST" == _tiers(manager)


def test_module_that_finds_no_memory_at_the_start_waits_on_the_host(clock: ManualClock) -> None:
    """A device that others have filled does not keep the service from starting."""
    manager = device_residency(FakeDevice(SIZES["a"]), clock=clock)
    manager.load()

    assert "DEVICE HOST HOST HOST" == _tiers(manager)


@pytest.mark.parametrize("fault", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("bad device")])
def test_pinned_module_that_the_device_does_not_take_stops_the_start(fault: Exception, clock: ManualClock) -> None:
    """What must be on the device and cannot be is no start."""
    device = FakeDevice()
    device.faults.append(fault)

    with pytest.raises(StartupError, match="a could not be brought to the device"), capture_logs():
        device_residency(device, clock=clock, pinned={"a"}).load()


def test_module_that_the_device_refuses_stops_the_start(clock: ManualClock) -> None:
    """A device that fails is told from one that is full."""
    device = FakeDevice()
    device.faults.append(RuntimeError("bad device"))

    with pytest.raises(StartupError, match="a could not be brought to the device"), capture_logs():
        device_residency(device, clock=clock).load()


def test_module_that_no_device_can_hold_stops_the_start(device: FakeDevice, clock: ManualClock) -> None:
    """A catalog with something else than torch modules is found at once."""
    with pytest.raises(StartupError, match="object is no torch module"):
        device_residency(device, clock=clock, makers={"a": object}).load()


def test_module_goes_through_all_tiers_as_an_operator_places_it(manager: ResidencyManager, device: FakeDevice) -> None:
    """Each tier is reached from each other one, and what is reported is what is held."""
    seen = []
    for tier in (Tier.HOST, Tier.DISK, Tier.HOST, Tier.DEVICE, Tier.DISK, Tier.DEVICE):
        _place(manager, A, tier)
        status = manager.report().modules[0]
        seen.append((status.tier, dict(status.bytes_by_tier), device.usage().allocated_bytes))
    rest_bytes = SIZES["b"] + SIZES["c"]
    on_device = (Tier.DEVICE, {Tier.DEVICE: SIZES["a"], Tier.HOST: HOST_BYTES}, rest_bytes + SIZES["a"])
    on_host = (Tier.HOST, {Tier.HOST: HOST_BYTES}, rest_bytes)
    on_disk = (Tier.DISK, {}, rest_bytes)

    assert [on_host, on_disk, on_host, on_device, on_disk, on_device] == seen


def test_only_ways_to_and_from_home_count_as_restores_and_evictions(manager: ResidencyManager) -> None:
    """A move between host and disk gives nothing back of what the budget bounds."""
    before = manager.report()
    for tier in (Tier.HOST, Tier.DISK, Tier.HOST, Tier.DEVICE):
        _place(manager, A, tier)
    after = manager.report()

    assert (2, 1, SIZES["a"]) == (
        after.modules[0].restores,
        after.modules[0].evictions,
        after.released_bytes - before.released_bytes,
    )


def test_directive_puts_modules_into_any_tier(manager: ResidencyManager) -> None:
    """A whole placement over three tiers is done, and done only when each is in its own."""
    manager.set_directive(_directive(a=Tier.DISK, b=Tier.HOST, d=Tier.DEVICE))
    begun = manager.report().applied_version

    assert (0, "DISK HOST DEVICE DEVICE", 1) == (begun, _settle(manager), manager.report().applied_version)


def test_directive_moves_a_module_on_the_host_when_its_claim_ends(manager: ResidencyManager) -> None:
    """An utterance that is open keeps its modules off the disk."""
    with manager.claim({D}):
        manager.set_directive(_directive(d=Tier.DISK))
        kept = _settle(manager)
        pending = manager.report().pending_moves

    assert ("DEVICE DEVICE DEVICE HOST", (PendingMove(module=D, tier=Tier.DISK, reason="claimed"),)) == (kept, pending)
    assert "DEVICE DEVICE DEVICE DISK" == _settle(manager)


def test_lease_lends_the_module_that_is_on_the_device_and_brings_it_from_disk(manager: ResidencyManager) -> None:
    """What is lent has its weights on the device, wherever it was."""
    _place(manager, A, Tier.DISK)
    manager.place(A, None, timeout_seconds=0)
    ready = manager.prepare({A, D})
    manager.make_moves()
    with manager.lease({A, D}, timeout_seconds=0) as lent:
        same = lent[A]
    _place(manager, A, Tier.HOST)
    _place(manager, A, Tier.DEVICE)
    with manager.lease({A}, timeout_seconds=0) as lent:
        again = lent[A]

    assert (True, True) == (ready.done(), same is again)


def test_module_that_rests_on_the_host_goes_back_there_after_its_use(
    manager: ResidencyManager, clock: ManualClock
) -> None:
    """It lingers, and then leaves the device, not memory."""
    manager.prepare({D})
    home = _settle(manager)
    clock.advance(10.1)

    assert ("DEVICE DEVICE DEVICE DEVICE", "DEVICE DEVICE DEVICE HOST") == (home, _settle(manager))


def test_guest_from_disk_goes_back_to_disk(manager: ResidencyManager) -> None:
    """Whoever wants a module on disk gets it there again in one move after a request has used it."""
    manager.set_directive(_directive(a=Tier.DISK))
    _settle(manager)
    manager.prepare({A})
    manager.make_moves()

    assert ["DISK DEVICE DEVICE HOST", Authority.DIRECTIVE] == [
        _settle(manager),
        manager.report().modules[0].authority,
    ]


def test_restore_without_memory_stops_on_the_host_and_tries_again_when_colder_modules_have_left(
    manager: ResidencyManager, device: FakeDevice, clock: ManualClock
) -> None:
    """What was read from disk is kept, nothing leaks, and who waited is served."""
    _place(manager, A, Tier.DISK)
    manager.place(A, None, timeout_seconds=0)
    with manager.lease({B}, timeout_seconds=0):
        pass
    device.capacity_bytes = SIZES["b"] + SIZES["c"]
    ready = manager.prepare({A})
    manager.make_moves()
    early = (ready.done(), _tiers(manager))
    clock.advance(0.05)

    assert (False, "HOST DEVICE HOST HOST") == early
    assert ("DEVICE DEVICE HOST HOST", True) == (_settle(manager), ready.done())


def test_load_without_host_memory_evicts_nobody_from_the_device(device: FakeDevice, clock: ManualClock) -> None:
    """What leaves the device frees no host memory, so that only the next try can help."""
    faults: list[Exception] = []

    def load() -> object:
        if faults:
            raise faults.pop()
        return TinyNetwork(8, 1)

    manager = device_residency(device, clock=clock, makers={**MAKERS, "a": load})
    manager.load()
    _place(manager, A, Tier.DISK)
    manager.place(A, None, timeout_seconds=0)
    faults.append(MemoryError())
    ready = manager.prepare({A})
    manager.make_moves()
    early = (ready.done(), _tiers(manager))
    clock.advance(0.05)

    assert ((False, "DISK DEVICE DEVICE DEVICE"), "DEVICE DEVICE DEVICE DEVICE") == (early, _settle(manager))


def test_restore_that_fails_on_the_device_breaks_the_module_until_a_request_mends_it(
    manager: ResidencyManager, device: FakeDevice
) -> None:
    """A fault of the device is told to who waits; the module stays on the host."""
    device.faults.append(RuntimeError("an illegal memory access was encountered"))
    refused = manager.prepare({D})
    with capture_logs():
        manager.make_moves()
    status = manager.report().modules[3]
    error = refused.exception(0)
    again = manager.prepare({D})
    manager.make_moves()

    assert isinstance(error, ServiceError)
    assert (Reason.ENGINE_FAULT, Tier.HOST, ModuleState.BROKEN) == (error.reason, status.tier, status.state)
    assert (True, None) == (again.done(), again.exception(0))


def test_operator_mends_a_broken_module_by_placing_it_on_the_host(
    manager: ResidencyManager, device: FakeDevice
) -> None:
    """Any place in memory is a reason to try again."""
    device.faults.append(RuntimeError("bad device"))
    manager.prepare({D})
    with capture_logs():
        manager.make_moves()
    _place(manager, D, Tier.HOST)

    assert ("DEVICE DEVICE DEVICE HOST", ModuleState.RESTING) == (_settle(manager), manager.report().modules[3].state)


def test_lease_ends_only_when_the_device_has_done_its_work(manager: ResidencyManager, device: FakeDevice) -> None:
    """The wait comes after the step and before the module may move."""
    held: list[int] = []

    def waiting() -> None:
        held.append(manager.report().modules[0].leases)

    device.finish_work = waiting
    with manager.lease({A}, timeout_seconds=0):
        before = list(held)

    assert ([], [1], 0) == (before, held, manager.report().modules[0].leases)


def test_lease_whose_work_fails_on_the_device_ends_all_the_same(manager: ResidencyManager, device: FakeDevice) -> None:
    """The step's owner hears of it, and nothing is held for ever."""
    device.work_faults.append(RuntimeError("device-side assert triggered"))
    with pytest.raises(RuntimeError, match="assert triggered"), manager.lease({A}, timeout_seconds=0):
        pass

    assert (0, 1) == (manager.report().modules[0].leases, device.waits)
    with manager.lease({A}, timeout_seconds=0) as lent:
        assert [A] == list(lent)


def test_report_tells_what_the_process_holds_of_the_device(manager: ResidencyManager, device: FakeDevice) -> None:
    """Reserved and allocated bytes are the allocator's own."""
    held_bytes = SIZES["a"] + SIZES["b"] + SIZES["c"]

    assert (
        DeviceUsage(reserved_bytes=held_bytes, allocated_bytes=held_bytes, pinned_host_bytes=held_bytes)
        == manager.report().device
    )
    assert manager.report().home_bytes == device.usage().allocated_bytes


def test_expected_restore_depends_on_where_the_module_is(device: FakeDevice, clock: ManualClock) -> None:
    """From the host it takes the copy, from disk the load and the copy."""

    def slowly(make: Callable[[], object], seconds: float) -> Callable[[], object]:
        def load() -> object:
            clock.advance(seconds)
            return make()

        return load

    manager = device_residency(device, clock=clock, makers={"a": slowly(MAKERS["a"], 2.0)})
    manager.load()
    seconds = []
    for tier in (Tier.HOST, Tier.DISK, Tier.DEVICE, Tier.DISK):
        _place(manager, A, tier)
        seconds.append(manager.expected_restore_seconds({A}))

    assert [0.0, None, 0.0, 2.0] == seconds


def test_home_on_a_device_without_a_way_there_is_a_programmer_error(device: FakeDevice, clock: ManualClock) -> None:
    """Tiers and mover belong together."""
    mover = device_residency(device, clock=clock)._mover

    with pytest.raises(AssertionError, match="takes a mover"):
        ResidencyManager([], mover=mover)
