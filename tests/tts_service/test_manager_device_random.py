"""Random operations on torch modules that move between three tiers, with what must always hold checked after each."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.fakes.fake_device import FakeDevice
from tests.fakes.manual_clock import ManualClock
from tests.fakes.torch_networks import (
    DEVICE_TIERS,
    MAKERS,
    NETWORKS,
    device_residency,
    is_tied,
    networks_of,
    output_of,
    weights_of,
)
from tts_service.errors import CallerError
from tts_service.residency.claims import Claim
from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.types import Directive, ModuleState, Placement, Tier, Urgency
from tts_service.types import ModuleName

CPU = torch.device("cpu")
SIZES = {name: DeviceTensors(FakeDevice()).weigh(make()) for name, make in MAKERS.items()}
ALL_BYTES = sum(SIZES.values())
BUDGETS = (None, 0, SIZES["a"], ALL_BYTES // 2, ALL_BYTES)
CAPACITIES = (None, None, ALL_BYTES // 2, max(SIZES.values()))
WEIGHTS = {name: weights_of(make()) for name, make in MAKERS.items()}
OUTPUTS = {name: output_of(make(), CPU) for name, make in MAKERS.items()}


class DeviceOperations:
    """One thread's random operations; leases are held by entering them without their thread's end."""

    def __init__(self, seed: int) -> None:
        self.clock = ManualClock()
        self.device = FakeDevice()
        self.manager = device_residency(self.device, clock=self.clock, rest_away={"d"}, stay_seconds=2.0)
        self.manager.load()
        self.random = random.Random(seed)
        self.version = 0
        self.lease: AbstractContextManager[object] | None = None
        self.leased: dict[ModuleName, list[int]] = {}
        self.claims: list[Claim] = []

    def any_modules(self) -> frozenset[ModuleName]:
        """Return one to all modules."""
        return frozenset(self.random.sample(NETWORKS, self.random.randint(1, len(NETWORKS))))

    def begin_or_end_lease(self) -> None:
        """End the lease that is held, or begin one if all its modules are ready."""
        if self.lease is not None:
            self.lease.__exit__(None, None, None)
            self.lease, self.leased = None, {}
            return
        wanted = self.any_modules()
        if not self.manager.away(wanted):
            self.lease = self.manager.lease(wanted, timeout_seconds=0)
            lent = self.lease.__enter__()
            self.leased = {name: _addresses(module) for name, module in lent.items()}

    def check_bits(self) -> None:
        """Use some modules that are ready: their weights, ties and output are what they always are."""
        wanted = frozenset(NETWORKS) - frozenset(self.manager.away(NETWORKS))
        if self.lease is not None or not wanted:
            return
        with self.manager.lease(wanted, timeout_seconds=0) as lent:
            for name, module in lent.items():
                assert all(map(torch.equal, WEIGHTS[name], weights_of(module)))
                assert torch.equal(OUTPUTS[name], output_of(module, CPU))
                assert is_tied(module)

    def prepare(self) -> None:
        """Ask for modules."""
        self.manager.prepare(self.any_modules())

    def claim(self) -> None:
        """Claim or release."""
        if self.claims and self.random.random() < 0.5:
            self.claims.pop(self.random.randrange(len(self.claims))).release()
        else:
            self.claims.append(self.manager.claim(self.any_modules()))

    def direct(self) -> None:
        """Put some directive in force, or none."""
        self.version += 1
        placements = tuple(
            Placement(module=name, tier=self.random.choice(DEVICE_TIERS), urgency=self.random.choice(tuple(Urgency)))
            for name in self.any_modules()
        )
        budget_bytes = self.random.choice(BUDGETS)
        directive = Directive(
            epoch=1, version=self.version, valid_for_seconds=10, budget_bytes=budget_bytes, placements=placements
        )
        self.manager.set_directive(self.random.choice((directive, directive, None)))

    def place(self) -> None:
        """Put an operator's wish in force, or take it back; a directive in force refuses it."""
        module, tier = self.random.choice(NETWORKS), self.random.choice((*DEVICE_TIERS, None, None))
        try:
            self.manager.place(module, tier, timeout_seconds=0)
        except CallerError:
            assert self.manager.report().accepted_version

    def fail(self) -> None:
        """Let the device be full, or fail once."""
        self.device.capacity_bytes = self.random.choice(CAPACITIES)
        self.device.faults = self.random.choice(([], [RuntimeError("failed on purpose")]))

    def move(self) -> None:
        """Let time pass, and make the moves that are due."""
        self.clock.advance(self.random.choice((0.0, 0.1, 1.0, 6.0, 12.0)))
        self.manager.make_moves()

    def step(self) -> None:
        """Do something."""
        steps: tuple[Callable[[], None], ...] = (
            self.begin_or_end_lease,
            self.check_bits,
            self.prepare,
            self.claim,
            self.direct,
            self.place,
            self.fail,
            self.move,
        )
        self.random.choices(steps, weights=(6, 2, 4, 2, 3, 2, 1, 9))[0]()

    def check(self) -> None:
        """Check what must always hold."""
        report = self.manager.report()
        objects = self.manager._worker.store.objects
        for name, addresses in self.leased.items():
            assert addresses == _addresses(objects[name])
        for status in report.modules:
            assert status.leases == (status.module in self.leased)
            assert not status.leases or (status.tier, status.state) == (Tier.DEVICE, ModuleState.RESTING)
            assert (status.tier is not Tier.DISK) == (status.module in objects)
        assert report.home_bytes == self.device.usage().allocated_bytes
        assert report.device is not None
        assert report.device.allocated_bytes == report.device.reserved_bytes
        # A budget that has shrunk holds as soon as nothing is left to move; what is leased or pinned may exceed it.
        unmovable_bytes = sum(SIZES[each.module] for each in report.modules if each.leases or each.pinned)
        if report.budget_bytes is not None and not report.pending_moves:
            assert report.home_bytes <= max(report.budget_bytes, unmovable_bytes)

    def finish(self) -> None:
        """End everything and let the manager converge."""
        if self.lease is not None:
            self.begin_or_end_lease()
        while self.claims:
            self.claims.pop().release()
        self.device.capacity_bytes, self.device.faults = None, []
        self.manager.set_directive(None)
        for name in NETWORKS:
            self.manager.place(name, None, timeout_seconds=0)
        self.manager.prepare(NETWORKS)
        for _ in range(10):
            self.clock.advance(0.6)
            self.manager.make_moves()


def _addresses(module: object) -> list[int]:
    return [each.data_ptr() for network in networks_of(module) for each in (*network.parameters(), *network.buffers())]


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """Keep some thousand events out of the way."""
    with capture_logs():
        yield


@settings(max_examples=12, deadline=None)
@given(st.integers(min_value=0))
def test_modules_are_the_same_after_any_sequence_of_moves(seed: int) -> None:
    """Nothing in use moves, the device holds what is reported and no more than the budget, and no bit changes."""
    operations = DeviceOperations(seed)
    for _ in range(120):
        operations.step()
        operations.check()
    operations.finish()
    operations.check_bits()
    where = [status.tier for status in operations.manager.report().modules]

    assert [Tier.DEVICE] * 3 == where[:3]
    assert where[3] in (Tier.DEVICE, Tier.HOST)
