"""Two networks in arenas and a scratch space, over a GPU or over a driver in host memory, with a running manager."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any, Final, Self

import torch

from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tests.fakes.fake_device import FakeDevice
from tests.fakes.fake_recorder import FakeRecorder
from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.device_weights import device_weights
from tts_service.residency.graph_memory import ArenaGraphs, GraphRecorder
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.residency.process_memory import ProcessMemory
from tts_service.residency.scratch_space import scratch_spec
from tts_service.residency.types import Directive, ModuleStatus, Placement, Tier, Urgency
from tts_service.types import ModuleName

A, B, SCRATCH = ModuleName("a"), ModuleName("b"), ModuleName("scratch")
MIB: Final = 1 << 20
LAYERS: Final = {A: 8, B: 4}
"""Where all of B is not enough for A, a hog is felt."""

WIDTHS: Final = {"cuda": 2048, "cpu": 32}
FAKE_CAPACITY_BYTES: Final = 1 << 20
RESTORE_TIMEOUT_SECONDS: Final = 1.5
PATIENCE_SECONDS: Final = 20.0


class Stack(torch.nn.Module):
    """Matrices in a row."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(layers)
        self.layers = torch.nn.ParameterList(
            torch.nn.Parameter(torch.randn(width, width, generator=generator) / width**0.5, requires_grad=False)
            for _ in range(layers)
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return what (rows, width) becomes."""
        for layer in self.layers:
            hidden = torch.tanh(hidden @ layer)
        return hidden


class Rig:
    """A manager whose threads run. `on` gives one, and closes it."""

    def __init__(self, device: str) -> None:
        self.width = WIDTHS[device]
        self.weights = _arenas(device)
        self.driver = self.weights._driver  # noqa: SLF001 - calls of it are made to fail here.
        self.space = self.weights.space(SCRATCH)
        recorder = GraphRecorder if device == "cuda" else FakeRecorder
        self.graphs = ArenaGraphs(self.space, most_bytes=256 * MIB, recorder=recorder)
        stacks = [
            ModuleSpec(name=name, load=partial(Stack, self.width, layers), home_bytes=0)
            for name, layers in LAYERS.items()
        ]
        self.manager = ResidencyManager(
            (*stacks, scratch_spec(self.space)),
            mover=Mover(memory=ProcessMemory(), clock=time.perf_counter, device=self.weights),
            tiers=(Tier.DEVICE, Tier.HOST, Tier.DISK),
            stay_seconds=0.0,
            restore_timeout_seconds=RESTORE_TIMEOUT_SECONDS,
        )
        self.space.account = self.manager.account(SCRATCH)
        self._hogs = count(1)
        self._versions = count(1)
        self._input = torch.linspace(-1, 1, 4 * self.width).reshape(4, self.width).to(self.driver.device)
        self._expected: dict[ModuleName, torch.Tensor] = {}

    def __repr__(self) -> str:
        return f"<Rig {self.manager!r}>"

    @classmethod
    @contextmanager
    def on(cls, device: str) -> Iterator[Self]:
        """Give a rig whose modules have been used once."""
        rig = cls(device)
        rig.manager.start()
        rig._expected = {name: rig.computed(name) for name in (A, B)}
        try:
            yield rig
        finally:
            rig.manager.close()
            if device == "cuda":
                torch.cuda.synchronize()
            rig.weights.close()

    def computed(self, name: ModuleName) -> torch.Tensor:
        """Return what a module makes of always the same input, on the host."""
        with self.manager.lease({name}, timeout_seconds=PATIENCE_SECONDS) as lent, torch.inference_mode():
            module: Any = lent[name]
            found: torch.Tensor = module(self._input).cpu()
        return found

    def check(self, name: ModuleName) -> None:
        """Use a module; its result is what it was the first time. Raises AssertionError."""
        if not torch.equal(self._expected[name], self.computed(name)):
            raise AssertionError(f"{name} gave other bits")

    def status(self, name: ModuleName) -> ModuleStatus:
        """Return what is reported of a module."""
        return next(each for each in self.manager.report().modules if each.module == name)

    def place(self, name: ModuleName, tier: Tier) -> None:
        """Send a module somewhere, and let it go where it is needed from there."""
        self.manager.place(name, tier, timeout_seconds=PATIENCE_SECONDS)
        self.manager.place(name, None, timeout_seconds=0)

    def direct(self, tiers: Mapping[ModuleName, Tier], *, urgency: Urgency) -> None:
        """Put a directive in force."""
        wishes = tuple(Placement(module=name, tier=tier, urgency=urgency) for name, tier in tiers.items())
        self.manager.set_directive(
            Directive(epoch=1, version=next(self._versions), valid_for_seconds=60.0, placements=wishes)
        )

    @contextmanager
    def hog(self) -> Iterator[None]:
        """Let somebody have all free memory of the device but less than a module takes."""
        module_bytes = self.status(A).home_bytes
        hog = self.weights.scratch(f"hog {next(self._hogs)}", max(1, self._free_bytes() - module_bytes // 4))
        hog.bring()
        try:
            yield
        finally:
            hog.give_back()

    @contextmanager
    def failing(self, call: str, error: Exception) -> Iterator[None]:
        """Let a call of the driver fail."""

        def fail(*arguments: object) -> None:
            del arguments
            raise error

        setattr(self.driver, call, fail)
        try:
            yield
        finally:
            delattr(self.driver, call)

    def captured_and_replayed(self, name: str, number: int) -> bool:
        """Capture work in the scratch space, and replay it under another lease; tells whether the result is right."""
        with self.manager.lease({A, SCRATCH}, timeout_seconds=PATIENCE_SECONDS) as lent, torch.inference_mode():
            module: Any = lent[A]
            out = self.graphs.buffer(4, self.width, dtype=torch.float32)

            def work() -> None:
                out.copy_(module(self._input)).add_(number)

            replay = self.graphs.capture(name, work)
        with self.manager.lease({A, SCRATCH}, timeout_seconds=PATIENCE_SECONDS), torch.inference_mode():
            replay()
            found = out.clone().cpu()
        return torch.equal(found, self._expected[A] + number)

    def _free_bytes(self) -> int:
        if isinstance(self.driver, FakeCudaDriver):
            return FAKE_CAPACITY_BYTES - self.driver.physical_bytes
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(self.driver.device)[0])


def _arenas(device: str) -> ArenaWeights:
    if device == "cpu":
        return ArenaWeights(FakeCudaDriver(FAKE_CAPACITY_BYTES), FakeDevice(), gate=CaptureGate())
    weights = device_weights(torch.device("cuda", 0), gate=CaptureGate())
    assert isinstance(weights, ArenaWeights), "memory cannot be mapped here; the log says why"
    return weights
