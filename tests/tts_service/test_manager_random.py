"""Random operations on the manager, with what must always hold checked after each."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.fakes.fake_modules import FakeModules, fake_residency
from tests.fakes.manual_clock import ManualClock
from tts_service.errors import CallerError, ServiceError
from tts_service.residency.claims import Claim
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.types import Directive, ModuleState, Placement, Tier, Urgency
from tts_service.types import ModuleName

SIZES = {"a": 10, "b": 20, "c": 30, "d": 40}
NAMES = tuple(ModuleName(name) for name in SIZES)
BUDGETS = (None, 0, 15, 30, 45, 60, 70, 100)


class Operations:
    """One thread's random operations on a manager that makes its moves only when told to."""

    def __init__(self, seed: int) -> None:
        self.clock = ManualClock()
        self.modules = FakeModules(SIZES)
        self.manager = fake_residency(
            self.modules, clock=self.clock, rest_away={"d"}, stay_seconds=2.0, linger_seconds=5.0
        )
        self.manager.load()
        self.random = random.Random(seed)
        self.version = 0
        self.governed = False
        self.pinned: set[ModuleName] = set()
        self.leases: list[tuple[frozenset[ModuleName], ExitStack]] = []
        self.claims: list[Claim] = []

    def any_modules(self) -> frozenset[ModuleName]:
        """Return one to all modules."""
        return frozenset(self.random.sample(NAMES, self.random.randint(1, len(NAMES))))

    def lease(self) -> None:
        """Begin a lease if all its modules are ready; a wait would never end here."""
        wanted = self.any_modules()
        if not self.manager.away(wanted) and len(self.leases) < 5:
            self.leases.append((wanted, self._begun(wanted)))

    def _begun(self, wanted: frozenset[ModuleName]) -> ExitStack:
        """Hold a lease in a thread of its own: a thread holds one at most."""
        begun, ended = threading.Event(), threading.Event()

        def hold() -> None:
            with self.manager.lease(wanted, timeout_seconds=5) as lent, self.modules.using(lent):
                begun.set()
                ended.wait()

        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        assert begun.wait(5)
        stack = ExitStack()
        stack.callback(thread.join)
        stack.callback(ended.set)
        return stack

    def end_lease(self) -> None:
        """End some lease."""
        if self.leases:
            self.leases.pop(self.random.randrange(len(self.leases)))[1].close()

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
            Placement(
                module=name,
                tier=self.random.choice((Tier.HOST, Tier.DISK)),
                urgency=self.random.choice(tuple(Urgency)),
            )
            for name in self.any_modules()
        )
        directive = Directive(
            epoch=1,
            version=self.version,
            valid_for_seconds=10,
            budget_bytes=self.random.choice(BUDGETS),
            placements=placements,
        )
        chosen = self.random.choice((directive, directive, None))
        self.governed = chosen is not None
        self.pinned -= frozenset(self.manager.set_directive(chosen))

    def place(self) -> None:
        """Put an operator's wish in force, or take it back."""
        module, tier = self.random.choice(NAMES), self.random.choice((Tier.HOST, Tier.DISK, None, None))
        if self.governed:
            with pytest.raises(CallerError, match="SetOverride"):
                self.manager.place(module, tier, timeout_seconds=0)
            return
        self.manager.place(module, tier, timeout_seconds=0)
        self.pinned.discard(module)
        if tier is Tier.HOST:
            self.pinned.add(module)

    def fail(self) -> None:
        """Let some next load fail."""
        fault = self.random.choice((MemoryError(), ValueError("broken on purpose")))
        self.modules.faults[self.random.choice(NAMES)].append(fault)

    def move(self) -> None:
        """Let time pass, and make the moves that are due."""
        self.clock.advance(self.random.choice((0.0, 0.1, 1.0, 6.0)))
        self.manager.make_moves()

    def step(self) -> None:
        """Do something."""
        steps: tuple[Callable[[], None], ...] = (
            self.lease,
            self.end_lease,
            self.prepare,
            self.claim,
            self.direct,
            self.place,
            self.fail,
            self.move,
        )
        self.random.choices(steps, weights=(8, 7, 4, 3, 3, 1, 1, 8))[0]()

    def check(self, resting_home: frozenset[ModuleName]) -> None:
        """Check what must always hold, after a step from where these modules were at home and not on their way."""
        report = self.manager.report()
        leased = frozenset().union(*(modules for modules, _ in self.leases))
        unmovable_bytes = sum(SIZES[name] for name in leased | self.pinned)
        assert not self.modules.violations
        for status in report.modules:
            held = sum(status.module in modules for modules, _ in self.leases)
            assert held == status.leases
            assert not status.leases or (status.tier, status.state) == (Tier.HOST, ModuleState.RESTING)
            assert (status.tier is Tier.HOST) == (status.module in self.modules.loaded())
            assert status.tier is Tier.HOST or status.module not in self.pinned & resting_home
        if report.budget_bytes is not None and not report.pending_moves:
            assert report.home_bytes <= max(report.budget_bytes, unmovable_bytes)
        assert sum(each.home_bytes for each in report.modules if each.tier is Tier.HOST) == report.home_bytes

    def resting_home(self) -> frozenset[ModuleName]:
        """Return the modules that are at home and not on their way."""
        at_home = (Tier.HOST, ModuleState.RESTING)
        return frozenset(each.module for each in self.manager.report().modules if (each.tier, each.state) == at_home)

    def finish(self) -> None:
        """End everything and let the manager converge."""
        while self.leases:
            self.end_lease()
        while self.claims:
            self.claims.pop().release()
        self.modules.faults.clear()
        for _ in range(20):
            self.clock.advance(40)
            self.manager.make_moves()


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """Keep some ten thousand events out of the way."""
    with capture_logs():
        yield


@pytest.mark.parametrize("seed", range(5))
def test_manager_random_operations_keep_the_invariants(seed: int) -> None:
    """Over 2,000 random operations each: nothing leased or pinned moves, and the budget holds but for those."""
    operations = Operations(seed)

    for _ in range(2_000):
        before = operations.resting_home()
        operations.step()
        operations.check(before)
    operations.finish()

    assert 0 == operations.manager.make_moves()


@settings(max_examples=10, deadline=None)
@given(st.integers(min_value=100))
def test_manager_after_random_operations_converges_to_the_budget(seed: int) -> None:
    """When all leases and claims have ended, what is at home fits the budget, or is pinned."""
    operations = Operations(seed)
    for _ in range(60):
        operations.step()
    operations.finish()
    report = operations.manager.report()
    pinned_bytes = sum(SIZES[name] for name in operations.pinned)

    assert report.budget_bytes is None or report.home_bytes <= max(report.budget_bytes, pinned_bytes)


def _speak(manager: ResidencyManager, modules: FakeModules, chance: random.Random, times: int) -> list[str]:
    """Lease random modules again and again, under claims now and then; return the reasons of refusals."""
    refusals = []
    for _ in range(times):
        wanted = frozenset(chance.sample(NAMES, chance.randint(1, 2)))
        claim: AbstractContextManager[object] = manager.claim(wanted) if chance.random() < 0.5 else ExitStack()
        with claim, suppress(ServiceError):
            refusals.append("refused")
            with manager.lease(wanted, timeout_seconds=5) as lent, modules.using(lent):
                time.sleep(0)
            refusals.pop()
    return refusals


def _govern(manager: ResidencyManager, chance: random.Random, done: threading.Event) -> None:
    """Change the placement and the budget again and again; the budget always holds any two modules."""
    version = 0
    while not done.is_set():
        version += 1
        placements = tuple(
            Placement(module=name, tier=Tier.DISK, urgency=chance.choice(tuple(Urgency)))
            for name in chance.sample(NAMES, 2)
        )
        budget_bytes = chance.choice((None, 70, 80))
        directive = Directive(
            epoch=1, version=version, valid_for_seconds=10, budget_bytes=budget_bytes, placements=placements
        )
        manager.set_directive(chance.choice((None, directive)))
        time.sleep(0.001)


def test_manager_under_threads_serves_everybody_and_moves_nothing_in_use() -> None:
    """Four threads lease 500 times each while a fifth governs: nobody starves, and no module moves under use."""
    modules = FakeModules(SIZES)
    manager = fake_residency(modules, clock=time.monotonic)
    manager.start()
    done = threading.Event()
    refusals: list[str] = []
    threads = [
        threading.Thread(target=lambda seed=seed: refusals.extend(_speak(manager, modules, random.Random(seed), 500)))
        for seed in range(4)
    ]
    governor = threading.Thread(target=_govern, args=(manager, random.Random(9), done))
    for thread in (*threads, governor):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    governor.join()
    manager.close()
    uses = sum(status.uses for status in manager.report().modules)

    assert ([], [], True) == (refusals, modules.violations, uses >= 2_000)
