"""Scratch memory on a GPU, section by section: see `device_floor`, which runs them."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, Final

import torch

from benchmarks.device_memory import MIB
from benchmarks.varied_work import GRAPH_WORK, Mixed
from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tests.fakes.fake_recorder import FakeRecorder
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.device_weights import device_weights
from tts_service.residency.graph_memory import ArenaGraphs, GraphRecorder
from tts_service.residency.page_arena import PageArena
from tts_service.residency.scratch_space import ScratchModule, ScratchSpace
from tts_service.residency.torch_device import TorchDevice
from tts_service.types import ModuleName

PAGE_SHAPE: Final = (30, 2, 16, 64, 64)
"""64 positions of English T3: 7.5 MiB in bf16."""


class Bench:
    """One process's arenas, on a GPU or on the fake driver."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.is_cuda = device.type == "cuda"
        self.weights: ArenaWeights = _arenas(device)
        self._spaces = 0

    def __repr__(self) -> str:
        return f"<Bench on {self.device} | {self.weights!r}>"

    def space(self) -> tuple[ModuleName, ScratchSpace]:
        """Return a new space and its name."""
        self._spaces += 1
        name = ModuleName(f"scratch.{self._spaces}")
        return name, self.weights.space(name)

    def graphs(self, space: ScratchSpace) -> ArenaGraphs:
        """Return graphs in a space, captured if this is a GPU."""
        return ArenaGraphs(space, recorder=GraphRecorder if self.is_cuda else FakeRecorder, most_bytes=1 << 30)

    def bring(self, name: ModuleName, space: ScratchSpace) -> float:
        """Return the milliseconds that bringing it takes."""
        return _milliseconds(lambda: self.weights.restore(name, ScratchModule(space)))

    def free_mib(self) -> float:
        """Return what the device has free."""
        return torch.cuda.mem_get_info(self.device)[0] / MIB if self.is_cuda else 0.0


def _arenas(device: torch.device) -> ArenaWeights:
    if device.type == "cuda":
        found = device_weights(device, gate=CaptureGate())
        assert isinstance(found, ArenaWeights), "memory cannot be mapped here; the log says why"
        return found
    return ArenaWeights(FakeCudaDriver(), TorchDevice(device), gate=CaptureGate())


def _graphs(bench: Bench) -> None:
    """Capture all kinds of work, take its memory away again and again with garbage in it, and compare the results."""
    name, space = bench.space()
    bench.bring(name, space)
    graphs = bench.graphs(space)
    print(f"   {'work':18} {'buffers':>8} {'pool MiB':>8} {'ms':>8}")
    all_mixed = [Mixed(kind, graphs, scale=16 if bench.is_cuda else 1) for kind in GRAPH_WORK]
    for mixed in all_mixed:
        spent = _milliseconds(mixed.capture)
        print(f"   {mixed.kind:18} {graphs.buffer_bytes / MIB:8.1f} {graphs.pool_bytes / MIB:8.1f} {spent:8.1f}")
    expected = [mixed.replayed() for mixed in all_mixed]
    gave, came, freed, wrong = [], [], [], 0
    for cycle in range(40):
        bench.weights.begin_work([name])
        bench.weights.end_work([name])
        before = bench.free_mib()
        gave.append(_milliseconds(lambda: bench.weights.evict(name)))
        freed.append(bench.free_mib() - before)
        hog = _garbage(bench, cycle)
        del hog
        came.append(bench.bring(name, space))
        wrong += sum(not torch.equal(want, mixed.replayed()) for want, mixed in zip(expected, all_mixed, strict=True))
    print(f"   40 times away: {wrong} results differ | {space.byte_count / MIB:.1f} MiB")
    print(f"   gives back in {_told(gave)} ms, comes in {_told(came)} ms, driver's free bytes +{median(freed):.1f} MiB")
    print(f"   usage {bench.weights.usage()}")


def _garbage(bench: Bench, cycle: int) -> Any:
    """Let somebody else have the memory that is free now, and write to it."""
    if not bench.is_cuda:
        return None
    torch.cuda.empty_cache()
    hog = bench.weights.scratch(f"hog {cycle}", int(0.9 * torch.cuda.mem_get_info(bench.device)[0]))
    hog.bring()
    with hog.using():
        hog.tensor(hog.byte_count, dtype=torch.uint8).fill_((0xFF, 0xA5, 0x7F)[cycle % 3])
    hog.give_back()
    return hog


def _growth(bench: Bench) -> None:
    """Let the pool grow in the middle of a capture while other threads allocate, free, and wait for a module."""
    name, space = bench.space()
    bench.bring(name, space)
    graphs = bench.graphs(space)
    made = graphs.buffer(1 << 20, dtype=torch.float32)
    ends = threading.Event()
    errors: list[BaseException] = []

    def neighbour() -> None:
        try:
            while not ends.is_set():
                stream_tensor = torch.ones(1 << 20, device=bench.device)
                stream_tensor = stream_tensor * 2
                del stream_tensor
        except BaseException as error:  # noqa: BLE001 - told below.
            errors.append(error)

    threads = [threading.Thread(target=neighbour) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(20):

            def work(number: int = number) -> None:
                capturing = bench.is_cuda and torch.cuda.is_current_stream_capturing()
                extra = torch.zeros((1 + 5 * capturing) << 20, device=bench.device)
                made.copy_(extra[: 1 << 20]).add_(number)

            replay = graphs.capture(f"grows {number}", work)
            replay()
    finally:
        ends.set()
        for thread in threads:
            thread.join()
    print(f"   20 captures beside three threads: {errors or 'no error'} | pool {graphs.pool_bytes / MIB:.0f} MiB")
    print(f"   result {set(made[:4].tolist())}, expected {{19.0}}")


def _pages(bench: Bench) -> None:
    """Take pages one by one while something computes, give them back, take them again, and trim."""
    name, space = bench.space()
    shape = PAGE_SHAPE if bench.is_cuda else (2, 2)
    pages = PageArena(space, shape, dtype=torch.bfloat16, pages=256)
    bench.bring(name, space)
    quiet = _steps(bench, lambda: None)
    first: list[float] = []
    taken: list[int] = []

    def take() -> None:
        began = time.perf_counter()
        taken.extend(pages.take(1))
        first.append(1000 * (time.perf_counter() - began))

    busy = _steps(bench, take)
    pages.give(taken)
    again = [_milliseconds(lambda: pages.take(1)) for _ in taken]
    pages.give(taken)
    count, spent = len(taken), _milliseconds(bench.weights.trim)
    print(f"   {pages.page_bytes / MIB:.2f} MiB a page; {count} new in {_told(first)} ms each, again in {_told(again)}")
    print(f"   trimmed {count} in {spent:.2f} ms, {spent / count:.3f} each")
    print(f"   steps of a stream beside that: {_told(busy)} ms, alone {_told(quiet)}")


def _steps(bench: Bench, between: Callable[[], object]) -> list[float]:
    """Return the milliseconds of matrix products with something done on the host between them."""
    size = 2048 if bench.is_cuda else 16
    left = torch.randn(size, size, device=bench.device)
    spent = []
    for _ in range(64):
        spent.append(_milliseconds(lambda: (left @ left @ left).sum().item()))
        between()
    return spent


def _milliseconds(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return 1000 * (time.perf_counter() - began)


def _told(values: Sequence[float]) -> str:
    ordered = sorted(values)
    return f"{median(ordered):.3f} (p99 {ordered[round(0.99 * (len(ordered) - 1))]:.3f})"


SCRATCH: Final[Mapping[str, Callable[[Bench], None]]] = {"graphs": _graphs, "growth": _growth, "pages": _pages}
"""The sections by name."""
