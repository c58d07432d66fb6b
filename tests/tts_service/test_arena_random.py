"""Ten thousand random moves, leases and budgets on modules in arenas, with what must always hold checked after each."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.fakes.arena_residency import arena_residency, arena_weights
from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tests.fakes.manual_clock import ManualClock
from tests.fakes.torch_networks import DEVICE_TIERS, MAKERS, NETWORKS, is_tied, networks_of, output_of, weights_of
from tts_service.errors import CallerError
from tts_service.residency.claims import Claim
from tts_service.residency.device_driver import DeviceDriverError, DeviceMemoryError
from tts_service.residency.types import Directive, ModuleState, Placement, Tier, Urgency
from tts_service.types import ModuleName

CPU = torch.device("cpu")
EXAMPLES, OPERATIONS = 20, 500
SIZES = {name: arena_weights(FakeCudaDriver()).weigh(make()) for name, make in MAKERS.items()}
ALL_BYTES = sum(SIZES.values())
BUDGETS = (None, 0, SIZES["a"], ALL_BYTES // 2, ALL_BYTES)
CAPACITIES = (None, None, ALL_BYTES // 2, max(SIZES.values()))
WEIGHTS = {name: weights_of(make()) for name, make in MAKERS.items()}
OUTPUTS = {name: output_of(make(), CPU) for name, make in MAKERS.items()}


class ArenaOperations:
    """One thread's random operations; a lease is held by entering it without its thread's end."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = ManualClock()
        self.driver = FakeCudaDriver()
        # A cover takes memory too, and would find what a stray access does; it is tested by itself.
        self.weights = arena_weights(self.driver, asynchronous=self.random.random() < 0.5)
        self.manager = arena_residency(self.weights, clock=self.clock, rest_away={"d"}, stay_seconds=2.0)
        self.manager.load()
        self.version = 0
        self.lease: AbstractContextManager[object] | None = None
        self.leased: frozenset[ModuleName] = frozenset()
        self.claims: list[Claim] = []
        self.addresses: dict[ModuleName, list[int]] = {}

    def any_modules(self) -> frozenset[ModuleName]:
        """Return one to all modules."""
        return frozenset(self.random.sample(NETWORKS, self.random.randint(1, len(NETWORKS))))

    def begin_or_end_lease(self) -> None:
        """End the lease that is held, leaving work behind, or begin one if all its modules are ready."""
        if self.lease is not None:
            for name in self.leased:
                self.driver.launch(self.weights.addresses()[name], SIZES[name])
            self.weights.end_work(self.leased)
            self.lease.__exit__(None, None, None)
            self.lease, self.leased = None, frozenset()
            return
        wanted = self.any_modules()
        if not self.manager.away(wanted):
            self.lease = self.manager.lease(wanted, timeout_seconds=0)
            self.leased = wanted
            self.lease.__enter__()
            self.weights.begin_work(wanted)

    def check_bits(self) -> None:
        """Use some modules that are ready: their weights, ties and output are what they always are."""
        wanted = frozenset(NETWORKS) - frozenset(self.manager.away(NETWORKS))
        if self.lease is not None or not wanted:
            return
        with self.manager.lease(wanted, timeout_seconds=0) as lent:
            self.weights.begin_work(wanted)
            for name, module in lent.items():
                assert all(map(torch.equal, WEIGHTS[name], weights_of(module)))
                assert torch.equal(OUTPUTS[name], output_of(module, CPU))
                assert is_tied(module)
            self.weights.end_work(wanted)

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
        """Let the device be full for a while, and one step of a restore fail, with or without a reason to try again."""
        self.driver.heal()
        self.driver.capacity_bytes = self.random.choice(CAPACITIES)
        step = self.random.choice(("create", "map", "set_access", "release", "copy", "copied", "register"))
        error = self.random.choice((DeviceMemoryError, DeviceMemoryError, DeviceDriverError))
        self.driver.fail_calls(step, self.random.choice((0, 1)), error)

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
        self.random.choices(steps, weights=(6, 1, 4, 2, 3, 2, 2, 9))[0]()

    def check(self) -> None:
        """Check what must always hold."""
        report, driver = self.manager.report(), self.driver
        objects = self.manager._worker.store.objects
        assert (driver.lost, self.weights.failures) == (None, {})
        assert report.home_bytes == self.weights.mapped_bytes == driver.physical_bytes == driver.mapped_bytes
        for status in report.modules:
            arena = self.weights._arenas.get(status.module)
            assert (arena is not None and arena.is_mapped) == (status.tier is Tier.DEVICE)
            assert status.leases == (status.module in self.leased)
            assert not status.leases or (status.tier, status.state) == (Tier.DEVICE, ModuleState.RESTING)
            assert (status.tier is not Tier.DISK) == (status.module in objects)
            if status.tier is Tier.DEVICE:
                addresses = _addresses(objects[status.module])
                assert addresses == self.addresses.setdefault(status.module, addresses)
        # A budget that has shrunk holds as soon as nothing is left to move; what is leased may exceed it.
        unmovable_bytes = sum(SIZES[each] for each in self.leased)
        if report.budget_bytes is not None and not report.pending_moves:
            assert report.home_bytes <= max(report.budget_bytes, unmovable_bytes)

    def finish(self) -> None:
        """End everything and let the manager converge."""
        if self.lease is not None:
            self.begin_or_end_lease()
        while self.claims:
            self.claims.pop().release()
        self.driver.heal()
        self.driver.capacity_bytes = None
        self.manager.set_directive(None)
        for name in NETWORKS:
            self.manager.place(name, None, timeout_seconds=0)
        self.manager.prepare(NETWORKS)
        for _ in range(10):
            self.clock.advance(0.6)
            self.manager.make_moves()

    def put_away(self) -> None:
        """Let every module go to disk."""
        for name in NETWORKS:
            self.manager.place(name, Tier.DISK, timeout_seconds=0)
        for _ in range(10):
            self.clock.advance(6.0)
            self.manager.make_moves()


def _addresses(module: object) -> list[int]:
    return [each.data_ptr() for network in networks_of(module) for each in (*network.parameters(), *network.buffers())]


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """Keep some thousand events out of the way."""
    with capture_logs():
        yield


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(min_value=0))
def test_modules_keep_bits_and_addresses_over_any_sequence_of_moves(seed: int) -> None:
    """Nothing in use moves, the device holds what is reported, and what has gone to disk holds nothing at all."""
    operations = ArenaOperations(seed)
    for _ in range(OPERATIONS):
        operations.step()
        operations.check()
    operations.finish()
    operations.check_bits()
    where = [status.tier for status in operations.manager.report().modules]
    operations.put_away()

    assert [Tier.DEVICE] * 3 == where[:3]
    assert (0, {}) == (operations.driver.physical_bytes, operations.driver.registered)
