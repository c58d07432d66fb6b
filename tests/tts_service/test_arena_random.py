"""Ten thousand random moves, leases, pages and budgets on modules in arenas, with what must hold checked after each."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.fakes.arena_residency import arena_residency, arena_weights
from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tests.fakes.network_operations import NetworkOperations, Step
from tests.fakes.torch_networks import MAKERS, NETWORKS
from tts_service.errors import ServiceError
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.device_driver import DeviceDriverError, DeviceMemoryError
from tts_service.residency.growth import RoomWantedError
from tts_service.residency.kept_room import KeptRoom
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.page_arena import PageArena
from tts_service.residency.scratch_space import scratch_spec
from tts_service.residency.types import ModuleStatus, ResidencyReport, Tier
from tts_service.types import ModuleName

EXAMPLES, OPERATIONS = 20, 500
SIZES = {name: arena_weights(FakeCudaDriver()).weigh(make()) for name, make in MAKERS.items()}
SCRATCH = ModuleName("scratch.a")
PAGES = 12
STEPS = ("create", "map", "set_access", "release", "copy", "copied", "register")


class ArenaOperations(NetworkOperations):
    """In arenas of a fake driver, with a scratch space whose pages some utterances own."""

    def __init__(self, seed: int) -> None:
        self.driver = FakeCudaDriver()
        # A cover takes memory too, and would find what a stray access does; it is tested by itself.
        self.weights: ArenaWeights = arena_weights(self.driver, asynchronous=seed % 2 == 0)
        self.space = self.weights.space(SCRATCH)
        self.pages = PageArena(self.space, (28, 64), dtype=torch.float32, pages=PAGES, ready_pages=1)
        self.owned: dict[int, list[int]] = {}
        self.rooms: list[KeptRoom] = []
        self.utterances = self.refusals = 0
        super().__init__(seed, sizes=SIZES, modules=(*NETWORKS, SCRATCH))
        self.space.account = self.manager.account(SCRATCH)

    def manager_over(self) -> ResidencyManager:
        """Return a manager whose home is the driver's device."""
        return arena_residency(
            self.weights, clock=self.clock, rest_away={"d"}, stay_seconds=2.0, more=[scratch_spec(self.space)]
        )

    def use(self, modules: frozenset[ModuleName]) -> None:
        """Leave a kernel behind that reads the weights."""
        for name in modules - {SCRATCH}:
            self.driver.launch(self.weights.addresses()[name], SIZES[name])

    def fail(self) -> None:
        """Let the device be full for a while, and one step of a restore fail, with or without a reason to try again."""
        self.driver.heal()
        self.driver.capacity_bytes = self.random.choice(self.capacities)
        error = self.random.choice((DeviceMemoryError, DeviceMemoryError, DeviceDriverError))
        self.driver.fail_calls(self.random.choice(STEPS), self.random.choice((0, 1)), error)

    def heal(self) -> None:
        """Let the device have room."""
        self.driver.heal()
        self.driver.capacity_bytes = None

    def more_steps(self) -> Iterable[tuple[Step, int]]:
        """Return what is done with pages."""
        return ((self.take_pages, 8), (self.give_pages, 3), (self.trim, 1), (self.let_room_go, 1))

    def take_pages(self) -> None:
        """Let an utterance take pages under a lease, or have their space come."""
        if SCRATCH in self.leased:
            self.take()
        elif self.manager.away({SCRATCH}):
            self.manager.prepare({SCRATCH})
        elif self.lease is None:
            with self.manager.lease({SCRATCH}, timeout_seconds=0):
                self.take()

    def take(self) -> None:
        """Take pages and write there; ask for room if there is none."""
        try:
            taken = self.pages.take(self.random.randint(1, 3))
        except RoomWantedError as wanted:
            self.make_room(wanted)
        except (ServiceError, DeviceDriverError):
            self.refusals += 1
        else:
            self.utterances += 1
            self.owned[self.utterances] = taken
            self.pages.tensor[taken] = float(self.utterances)

    def make_room(self, wanted: RoomWantedError) -> None:
        """Have room made, if that can be."""
        with suppress(RoomWantedError):
            self.rooms.append(self.manager.make_room(wanted))

    def give_pages(self) -> None:
        """Let an utterance end."""
        if self.owned:
            self.pages.give(self.owned.pop(self.random.choice(list(self.owned))))

    def trim(self) -> None:
        """Give back what nobody has."""
        self.weights.trim()

    def let_room_go(self) -> None:
        """Let somebody who waited for room go, served or not."""
        if self.rooms:
            self.rooms.pop(self.random.randrange(len(self.rooms))).release()

    def check(self) -> ResidencyReport:
        """Check the driver's books, the addresses and the pages besides."""
        report, driver = super().check(), self.driver
        assert (driver.lost, self.weights.failures) == (None, {})
        assert report.home_bytes == self.weights.mapped_bytes == driver.physical_bytes == driver.mapped_bytes
        for status in report.modules:
            arena = self.weights._arenas.get(status.module)
            there = self.space.is_mapped if status.module == SCRATCH else arena is not None and arena.is_mapped
            assert there == (status.tier is Tier.DEVICE)
        assert self.space.is_mapped or not self.owned
        for number, pages in self.owned.items():
            assert bool((self.pages.tensor[pages] == float(number)).all())
        return report

    def is_unmovable(self, status: ModuleStatus) -> bool:
        """Pages that somebody has keep their space."""
        return super().is_unmovable(status) or (status.module == SCRATCH and bool(self.owned))

    def finish(self) -> None:
        """Let all utterances end besides."""
        while self.owned:
            self.give_pages()
        while self.rooms:
            self.let_room_go()
        super().finish()

    def put_away(self) -> None:
        """Let every module go to disk."""
        for name in self.modules:
            self.manager.place(name, Tier.DISK, timeout_seconds=0)
        for _ in range(10):
            self.clock.advance(6.0)
            self.manager.make_moves()


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
    where = operations.tiers()
    operations.put_away()

    assert [Tier.DEVICE] * 3 == where[:3]
    assert (0, {}) == (operations.driver.physical_bytes, operations.driver.registered)
    assert () == operations.manager._guard._register.situation.growths
