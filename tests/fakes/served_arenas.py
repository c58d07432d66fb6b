"""A manager over small networks in arenas and one scratch space with pages, whose moves are made when it is told to."""

from collections.abc import Collection

import torch

from tests.fakes.arena_residency import arena_residency, arena_weights
from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tests.fakes.network_operations import WatchedClock
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.page_arena import PageArena
from tts_service.residency.scratch_space import ScratchSpace, scratch_spec
from tts_service.residency.types import ModuleStatus
from tts_service.types import ModuleName

SCRATCH = ModuleName("scratch.a")
PAGE = 4096


class Served:
    """A manager over arenas and one scratch space with pages, whose home is the fake driver's device."""

    def __init__(
        self, *, asynchronous: bool = False, budget_bytes: int | None = None, rest_away: Collection[str] = ()
    ) -> None:
        self.clock = WatchedClock()
        self.driver = FakeCudaDriver()
        self.weights: ArenaWeights = arena_weights(self.driver, asynchronous=asynchronous)
        self.space: ScratchSpace = self.weights.space(SCRATCH)
        self.pages = PageArena(self.space, (16, 64), dtype=torch.float32, pages=16, ready_pages=1)
        self.manager: ResidencyManager = arena_residency(
            self.weights,
            clock=self.clock,
            more=[scratch_spec(self.space)],
            budget_bytes=budget_bytes,
            rest_away=rest_away,
        )
        self.space.account = self.manager.account(SCRATCH)
        self.manager.load()

    def status(self, module: ModuleName) -> ModuleStatus:
        """Return what is reported of a module."""
        return next(each for each in self.manager.report().modules if each.module == module)

    def settle(self, seconds: float = 0.6, times: int = 10) -> None:
        """Let time pass and moves be made."""
        for _ in range(times):
            self.clock.advance(seconds)
            self.manager.make_moves()

    def bring(self, *modules: ModuleName) -> None:
        """Have modules brought home."""
        future = self.manager.prepare(modules)
        self.manager.make_moves()
        future.result(0)

    def __repr__(self) -> str:
        return f"<Served {self.manager!r} | {self.driver!r}>"
