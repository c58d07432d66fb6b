"""What moves of other modules do to whoever launches work, and what is lost between the moves of a wake.

One thread launches small kernels, and copies a few bytes to the device, as stages of speech do. Beside it nothing
moves, or arenas move in another thread (the driver's share), or a whole residency moves them (Python's share as well).
On a CPU the driver is the fake one: figures then mean little, but all of it runs.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import torch

from benchmarks.spread import spread_of
from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tests.fakes.fake_device import FakeDevice
from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.device_weights import device_weights
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.residency.process_memory import ProcessMemory
from tts_service.residency.types import Tier
from tts_service.spans import SpanLog
from tts_service.types import ModuleName

MIB: Final = 1 << 20
TENSORS: Final = 900
"""Of a module: CAMPPlus has as many."""

ENCODERS_MIB: Final = {"cuda": (474, 28, 6, 28), "cpu": (1, 1)}
"""What moves beside speech: the tokenizer, the speaker encoder, the voice encoder and the detector."""

SPEECH_MIB: Final = {"cuda": (1016, 215, 80, 9), "cpu": (2, 1, 1)}
"""What a wake brings: T3, flow, vocoder and the mark's encoder."""

LAUNCHES: Final = {"cuda": 20_000, "cpu": 300}
WAKES: Final = {"cuda": 30, "cpu": 3}
LAUNCHES_A_COPY: Final = 16
IDLE_SECONDS: Final = 0.05


class Many(torch.nn.Module):
    """As many tensors as a real network has, all views of one piece of host memory."""

    def __init__(self, byte_count: int) -> None:
        super().__init__()
        memory = torch.zeros(byte_count, dtype=torch.uint8)
        each_bytes = byte_count // TENSORS // 512 * 512 or 512
        for number in range(min(TENSORS, byte_count // each_bytes)):
            self.register_buffer(f"tensor_{number}", memory[number * each_bytes : (number + 1) * each_bytes])


def measured(device: torch.device) -> dict[str, Any]:
    """Return the spreads of launches and small copies with nothing, arenas and a residency moving, and of wakes."""
    found: dict[str, Any] = {"still": _launching(device)}
    with _arenas_moving(device):
        found["arenas move"] = _launching(device)
    with _residency_moving(device) as moves:
        found["a residency moves"] = {**_launching(device), "moves": len(moves)}
    return {**found, "wake": _wakes(device)}


def rows(found: dict[str, Any]) -> dict[str, tuple[float, str, float | None]]:
    """Return what is told of that: value, unit, and the same with nothing moving or at the rate of the bus."""
    still = found["still"]["launch"]["p99"]
    return {
        "launch_p99_us_arenas_move": (1e3 * found["arenas move"]["launch"]["p99"], "us", 1e3 * still),
        "launch_p99_us_residency_moves": (1e3 * found["a residency moves"]["launch"]["p99"], "us", 1e3 * still),
        "small_copy_p99_us_residency_moves": (
            1e3 * found["a residency moves"]["copy"]["p99"],
            "us",
            1e3 * found["still"]["copy"]["p99"],
        ),
        "wake_gaps_ms": (found["wake"]["gaps"]["p50"], "ms", None),
        "wake_first_ms": (found["wake"]["first"]["p50"], "ms", None),
        "wake_ms": (found["wake"]["all"]["p50"], "ms", None),
    }


def _launching(device: torch.device) -> dict[str, Any]:
    """Launch small kernels for a while; time the calls, and copies of a few bytes until they are there."""
    values, few = torch.zeros(1024, device=device), torch.zeros(256)
    there, finish = torch.zeros(256, device=device), _finish(device)
    few = few.pin_memory() if device.type == "cuda" else few
    launches: list[float] = []
    copies: list[float] = []

    def copy() -> None:
        there.copy_(few, non_blocking=True)
        finish()

    for number in range(LAUNCHES[device.type]):
        launches.append(_seconds(lambda: values.add_(1)))
        if number % LAUNCHES_A_COPY == 0:
            copies.append(_seconds(copy))
    return {"launch": asdict(spread_of(launches)), "copy": asdict(spread_of(copies))}


def _finish(device: torch.device) -> Callable[[], None]:
    """Return what waits for this thread's stream alone."""
    return torch.cuda.current_stream(device).synchronize if device.type == "cuda" else lambda: None


@contextmanager
def _arenas_moving(device: torch.device) -> Iterator[None]:
    """Let modules leave and come back all the while, by calls of the driver and little else."""
    weights = _arenas(device)
    modules = {ModuleName(f"module {mib} {n}"): Many(mib * MIB) for n, mib in enumerate(ENCODERS_MIB[device.type])}

    def move() -> None:
        for name, module in modules.items():
            weights.restore(name, module)
        for name in modules:
            weights.evict(name)

    move()
    with _repeated(move):
        yield
    weights.close()


@contextmanager
def _residency_moving(device: torch.device) -> Iterator[list[float]]:
    """Let an operator place modules to and fro all the while."""
    weights = _arenas(device)
    manager = _manager(weights, ENCODERS_MIB[device.type], SpanLog(time.perf_counter, most=0))
    moves: list[float] = []

    def move() -> None:
        for tier in (Tier.HOST, Tier.DEVICE):
            for name in manager.modules:
                manager.place(name, tier, timeout_seconds=30.0)
                moves.append(time.perf_counter())

    with _repeated(move):
        yield moves
    manager.close()
    weights.close()


@contextmanager
def _repeated(step: Callable[[], None]) -> Iterator[None]:
    ends = threading.Event()

    def go() -> None:
        while not ends.is_set():
            step()

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def _wakes(device: torch.device) -> dict[str, Any]:
    """Bring all of speech back, again and again: the time before the first move, between moves, and in all."""
    weights, spans = _arenas(device), SpanLog(time.perf_counter)
    manager = _manager(weights, SPEECH_MIB[device.type], spans)
    found: dict[str, list[float]] = {"first": [], "gaps": [], "all": []}
    for _ in range(WAKES[device.type]):
        for tier in (Tier.HOST, None):
            for name in manager.modules:
                manager.place(name, tier, timeout_seconds=30.0)
        time.sleep(IDLE_SECONDS)
        before, began = len(spans.spans), time.perf_counter()
        manager.prepare(manager.modules).result(30.0)
        found["all"].append(time.perf_counter() - began)
        moves = spans.spans[before:]
        found["first"].append(moves[0].begin_seconds - began)
        ends = [each.end_seconds for each in moves]
        found["gaps"].append(sum(begin.begin_seconds - end for begin, end in zip(moves[1:], ends[:-1], strict=True)))
    manager.close()
    weights.close()
    return {name: asdict(spread_of(seconds)) for name, seconds in found.items()}


def _manager(weights: ArenaWeights, sizes_mib: Sequence[int], spans: SpanLog) -> ResidencyManager:
    manager = ResidencyManager(
        [
            ModuleSpec(name=ModuleName(f"module {mib} {n}"), load=partial(Many, mib * MIB), home_bytes=0)
            for n, mib in enumerate(sizes_mib)
        ],
        mover=Mover(memory=ProcessMemory(), clock=time.perf_counter, device=weights, spans=spans),
        tiers=(Tier.DEVICE, Tier.HOST, Tier.DISK),
    )
    manager.start()
    return manager


def _arenas(device: torch.device) -> ArenaWeights:
    if device.type == "cpu":
        return ArenaWeights(FakeCudaDriver(), FakeDevice(), gate=CaptureGate())
    weights = device_weights(device, gate=CaptureGate())
    assert isinstance(weights, ArenaWeights), "memory cannot be mapped here; the log says why"
    return weights


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
