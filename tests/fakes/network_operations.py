"""Random operations on small networks that move between three tiers, whatever brings them to the device.

One thread does them: a lease is held by entering it without its thread's end. What a device adds (faults, books, work
that is left behind) and what must hold there is said by whoever derives from this.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

import torch

from tests.fakes.manual_clock import ManualClock
from tests.fakes.torch_networks import DEVICE_TIERS, MAKERS, NETWORKS, is_tied, networks_of, output_of, weights_of
from tts_service.errors import CallerError
from tts_service.residency.claims import Claim
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.types import (
    Directive,
    ModuleState,
    ModuleStatus,
    Placement,
    ResidencyReport,
    Tier,
    Urgency,
)
from tts_service.types import ModuleName

Step = Callable[[], None]

READINGS_MOST = 5_000
"""Of the clock while no time passes: far more than what follows from one operation, unless moves follow for ever."""

WEIGHTS = {name: weights_of(make()) for name, make in MAKERS.items()}
OUTPUTS = {name: output_of(make(), torch.device("cpu")) for name, make in MAKERS.items()}


class WatchedClock(ManualClock):
    """Fails when it is read again and again without moving: modules then send each other away without a rest."""

    def __init__(self) -> None:
        super().__init__()
        self._readings = 0

    def __call__(self) -> float:
        """Return the time."""
        self._readings += 1
        assert self._readings <= READINGS_MOST, "moves follow from each other for ever"
        return super().__call__()

    def advance(self, seconds: float) -> None:
        """Move forward."""
        self._readings = 0
        super().advance(seconds)


class NetworkOperations(ABC):
    """The operations. `sizes` are what modules hold at home, `budgets` what a directive may say."""

    def __init__(self, seed: int, *, sizes: Mapping[str, int], modules: tuple[ModuleName, ...] = NETWORKS) -> None:
        self.random = random.Random(seed)
        self.clock = WatchedClock()
        self.sizes = sizes
        self.modules = modules
        all_bytes = sum(sizes.values())
        self.budgets = (None, 0, sizes["a"], all_bytes // 2, all_bytes)
        self.capacities = (None, None, all_bytes // 2, max(sizes.values()))
        self.manager = self.manager_over()
        self.manager.load()
        self.version = 0
        self.lease: AbstractContextManager[Mapping[ModuleName, object]] | None = None
        self.leased: frozenset[ModuleName] = frozenset()
        self.claims: list[Claim] = []
        self.addresses: dict[ModuleName, list[int]] = {}

    # --- what a device says ---------------------------------------------------------------------------------------

    @abstractmethod
    def manager_over(self) -> ResidencyManager:
        """Return a manager over what brings modules to the device."""

    @abstractmethod
    def fail(self) -> None:
        """Let the device be full for a while, or fail once."""

    @abstractmethod
    def heal(self) -> None:
        """Let nothing fail any more, and the device have room."""

    def use(self, modules: frozenset[ModuleName]) -> None:
        """Leave work behind on the device before a lease on these ends; by default, none."""
        del modules

    def more_steps(self) -> Iterable[tuple[Step, int]]:
        """Return further operations, with how often they come."""
        return ()

    # --- operations -----------------------------------------------------------------------------------------------

    def any_modules(self) -> frozenset[ModuleName]:
        """Return one to all modules."""
        return frozenset(self.random.sample(self.modules, self.random.randint(1, len(self.modules))))

    def begin_or_end_lease(self) -> None:
        """End the lease that is held, leaving work behind, or begin one if all its modules are ready."""
        if self.lease is not None:
            self.use(self.leased)
            self.lease.__exit__(None, None, None)
            self.lease, self.leased = None, frozenset()
            return
        wanted = self.any_modules()
        if not self.manager.away(wanted):
            self.lease = self.manager.lease(wanted, timeout_seconds=0)
            lent = self.lease.__enter__()
            self.leased = wanted
            self.addresses |= {name: addresses_of(module) for name, module in lent.items() if name in WEIGHTS}

    def check_bits(self) -> None:
        """Use some modules that are ready: their weights, ties and output are what they always are."""
        wanted = frozenset(NETWORKS) - frozenset(self.manager.away(NETWORKS))
        if self.lease is not None or not wanted:
            return
        with self.manager.lease(wanted, timeout_seconds=0) as lent:
            for name, module in lent.items():
                assert all(map(torch.equal, WEIGHTS[name], weights_of(module)))
                assert torch.equal(OUTPUTS[name], output_of(module, torch.device("cpu")))  # type: ignore[arg-type]  # Each is called with tokens.
                assert is_tied(module)

    def prepare(self) -> None:
        """Ask for modules, and sometimes think better of it."""
        wanted = self.manager.prepare(self.any_modules())
        if self.random.random() < 0.2:
            wanted.cancel()

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
        directive = Directive(
            epoch=1,
            version=self.version,
            valid_for_seconds=10,
            budget_bytes=self.random.choice(self.budgets),
            placements=placements,
        )
        self.manager.set_directive(self.random.choice((directive, directive, None)))

    def place(self) -> None:
        """Put an operator's wish in force, or take it back; a directive in force refuses it."""
        module, tier = self.random.choice(self.modules), self.random.choice((*DEVICE_TIERS, None, None))
        try:
            self.manager.place(module, tier, timeout_seconds=0)
        except CallerError:
            assert self.manager.report().accepted_version

    def move(self) -> None:
        """Let time pass, and make the moves that are due."""
        self.clock.advance(self.random.choice((0.0, 0.1, 1.0, 6.0, 12.0)))
        self.manager.make_moves()

    def step(self) -> None:
        """Do something."""
        steps: list[tuple[Step, int]] = [
            (self.begin_or_end_lease, 6),
            (self.check_bits, 1),
            (self.prepare, 4),
            (self.claim, 2),
            (self.direct, 3),
            (self.place, 2),
            (self.fail, 2),
            (self.move, 9),
            *self.more_steps(),
        ]
        self.random.choices([each for each, _ in steps], weights=[weight for _, weight in steps])[0]()

    # --- what must hold -------------------------------------------------------------------------------------------

    def check(self) -> ResidencyReport:
        """Check what must always hold, and return the report."""
        report = self.manager.report()
        objects = self.manager._worker.store.objects
        for status in report.modules:
            assert status.leases == (status.module in self.leased)
            assert not status.leases or (status.tier, status.state) == (Tier.DEVICE, ModuleState.RESTING)
            assert (status.tier is not Tier.DISK) == (status.module in objects)
            if status.leases and status.module in WEIGHTS:
                assert self.addresses[status.module] == addresses_of(objects[status.module])
        # A budget that has shrunk holds as soon as nothing is left to move; what is leased or pinned may exceed it.
        unmovable_bytes = sum(each.home_bytes for each in report.modules if self.is_unmovable(each))
        if report.budget_bytes is not None and not report.pending_moves:
            assert report.home_bytes <= max(report.budget_bytes, unmovable_bytes)
        return report

    def is_unmovable(self, status: ModuleStatus) -> bool:
        """Tell whether a module may stay whatever the budget."""
        return bool(status.leases) or status.pinned

    def finish(self) -> None:
        """End everything and let the manager converge, with all modules at home."""
        if self.lease is not None:
            self.begin_or_end_lease()
        while self.claims:
            self.claims.pop().release()
        self.heal()
        self.manager.set_directive(None)
        for name in self.modules:
            self.manager.place(name, None, timeout_seconds=0)
        self.manager.prepare(NETWORKS)
        for _ in range(10):
            self.clock.advance(0.6)
            self.manager.make_moves()

    def tiers(self) -> list[Tier]:
        """Return where the networks are."""
        return [status.tier for status in self.manager.report().modules if status.module in NETWORKS]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.manager!r}>"


def addresses_of(module: object) -> list[int]:
    """Return where a module's weights are."""
    return [each.data_ptr() for network in networks_of(module) for each in (*network.parameters(), *network.buffers())]
