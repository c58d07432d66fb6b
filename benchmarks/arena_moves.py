"""How fast modules leave a GPU and come back in arenas, beside a pinned copy and `module.to()` in the same run.

    python -m benchmarks.arena_moves                    prints a table, keeps the figures in results/arena_moves.json
    python -m benchmarks.arena_moves --cycles 100       fewer rounds of the check that graphs stay valid
    python -m benchmarks.arena_moves --device cpu       what moves do to others alone, over a driver in host memory

A module is one piece of host memory of bfloat16 matrices, as a loader leaves it. Times are the caller's, from the call
to its return, with everything done: an eviction when the driver has its memory, a restore when all bytes are there.
"""

import argparse
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks import unnoticed_moves
from benchmarks.move_rows import print_rows, told
from benchmarks.spread import Spread, spread_of
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.device_weights import device_weights
from tts_service.residency.torch_device import TorchDevice
from tts_service.types import ModuleName

RESULTS: Final = Path(__file__).with_name("results") / "arena_moves.json"
MIB: Final = 1 << 20
GIB: Final = 1 << 30
WIDTH: Final = 2048
SIZES_MIB: Final = (32, 80, 256, 1024, 3072)
TOLD_MIB: Final = 1024
"""The size that the rows are about; the others are in the table."""

GRAPH_MIB: Final = 512
TOKENS: Final = 16
WARM_UP_MOVES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """What moving a module of one size costs, in an arena and by the other ways."""

    mib: int
    evict: Spread
    restore: Spread
    copy: Spread
    plain_evict: Spread
    plain_restore: Spread
    to_host: Spread
    to_device: Spread


class Matrices(torch.nn.Module):
    """A stack of square matrices, all views of one piece of host memory."""

    def __init__(self, byte_count: int) -> None:
        super().__init__()
        matrix_bytes = WIDTH * WIDTH * 2
        memory = torch.empty(byte_count, dtype=torch.uint8)
        self.layers = torch.nn.ParameterList(
            torch.nn.Parameter(
                memory[begin : begin + matrix_bytes].view(torch.bfloat16).view(WIDTH, WIDTH), requires_grad=False
            )
            for begin in range(0, byte_count, matrix_bytes)
        )
        with torch.no_grad():
            # One matrix of random numbers, rolled: more would take longer to make than everything else here.
            first = torch.randn(WIDTH, WIDTH).mul_(WIDTH**-0.5).to(torch.bfloat16)
            for number, layer in enumerate(self.layers):
                layer.copy_(first.roll(number + 1, dims=0))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return what (tokens, width) becomes in all layers."""
        for layer in self.layers:
            hidden = torch.tanh(hidden @ layer).add_(hidden)
        return hidden


def main() -> int:
    """Measure, print, keep; 1 if a graph gave other bits."""
    options = _options()
    if options.device == "cpu":
        print_rows(told(unnoticed_moves.rows(unnoticed_moves.measured(torch.device("cpu")))))
        return 0
    if not torch.cuda.is_available():
        print("no CUDA device: there is nothing to measure")
        return 1
    device = torch.device("cuda", torch.cuda.current_device())
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}")
    moves = [_measured(mib, device, options.moves) for mib in options.sizes]
    cycles = _graph_cycles(device, options.cycles)
    beside = unnoticed_moves.measured(device)
    kept = {
        **_about(device),
        "rows": {**_rows(moves, cycles), **told(unnoticed_moves.rows(beside))},
        "moves": [asdict(each) for each in moves],
        "cycles": cycles,
        "beside": beside,
    }
    _print_table(moves)
    print_rows(kept["rows"])
    print(f"{cycles['cycles']} cycles with a neighbour: {cycles['different']} gave other bits")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(f"kept in {options.out}")
    return 1 if cycles["different"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES_MIB, help="of modules, in MiB")
    parser.add_argument("--moves", type=int, default=100, help="of each size")
    parser.add_argument("--cycles", type=int, default=1000, help="with a graph and a neighbour")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def _measured(mib: int, device: torch.device, count: int) -> Moves:
    """Measure one size: arena, copy, and the other ways, each with host memory of its own."""
    print(f"{mib} MiB", flush=True)
    name, arenas, fewer = ModuleName("matrices"), _arenas(device), max(5, count // 10)
    module = Matrices(mib * MIB)
    restores, evicts = _timed_moves(
        lambda: arenas.restore(name, module), lambda: arenas.evict(name), count + WARM_UP_MOVES
    )
    arenas.forget(name)
    arenas.close()
    plain, other = DeviceTensors(TorchDevice(device)), Matrices(mib * MIB)
    plain_restores, plain_evicts = _timed_moves(
        lambda: plain.restore(name, other), lambda: plain.evict(name), fewer + WARM_UP_MOVES
    )
    plain.forget(name)
    to_device, to_host = _timed_moves(
        lambda: _synchronously(lambda: other.to(device)), lambda: _synchronously(lambda: other.to("cpu")), fewer
    )
    torch.cuda.empty_cache()
    return Moves(
        mib=mib,
        evict=spread_of(evicts[WARM_UP_MOVES:]),
        restore=spread_of(restores[WARM_UP_MOVES:]),
        copy=spread_of(_pinned_copies(mib * MIB, device, count)),
        plain_evict=spread_of(plain_evicts[WARM_UP_MOVES:]),
        plain_restore=spread_of(plain_restores[WARM_UP_MOVES:]),
        to_host=spread_of(to_host),
        to_device=spread_of(to_device),
    )


def _arenas(device: torch.device) -> ArenaWeights:
    arenas = device_weights(device, gate=CaptureGate())
    assert isinstance(arenas, ArenaWeights), "memory cannot be mapped here; the log says why"
    return arenas


def _timed_moves(
    come: Callable[[], object], leave: Callable[[], object], count: int
) -> tuple[Sequence[float], Sequence[float]]:
    """Return the seconds of each coming and each leaving."""
    pairs = [(_seconds(come), _seconds(leave)) for _ in range(count)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _pinned_copies(byte_count: int, device: torch.device, count: int) -> Sequence[float]:
    """Return the seconds of copies from torch's own pinned memory into memory that is there already."""
    source = torch.empty(byte_count, dtype=torch.uint8, pin_memory=True).fill_(1)
    target = torch.empty(byte_count, dtype=torch.uint8, device=device)

    def copy() -> None:
        target.copy_(source, non_blocking=True)
        torch.cuda.synchronize()

    for _ in range(WARM_UP_MOVES):
        copy()
    return [_seconds(copy) for _ in range(count)]


def _graph_cycles(device: torch.device, count: int) -> dict[str, Any]:
    """Capture a graph over a module, and replay it after each eviction and restore with a neighbour in between."""
    print(f"{count} cycles", flush=True)
    name, arenas, module = ModuleName("matrices"), _arenas(device), Matrices(GRAPH_MIB * MIB)
    byte_count = arenas.restore(name, module)
    # The graph reads its input where it was: it must live as long.
    hidden = torch.randn(TOKENS, WIDTH, device=device).to(torch.bfloat16)
    graph, output = _captured(arenas, module, hidden)
    expected = _replayed(arenas, name, graph, output)
    neighbour = arenas.scratch("neighbour", byte_count)
    filling = neighbour.tensor(byte_count, dtype=torch.uint8)
    different, began = 0, time.perf_counter()
    for cycle in range(count):
        arenas.evict(name)
        neighbour.bring()
        with neighbour.using():
            filling.fill_(cycle % 256)
        arenas.restore(name, module)
        neighbour.give_back()
        different += not torch.equal(expected, _replayed(arenas, name, graph, output))
    del hidden
    seconds = time.perf_counter() - began
    return {"mib": GRAPH_MIB, "cycles": count, "different": different, "seconds": seconds, "strays": arenas.strays}


def _replayed(
    arenas: ArenaWeights, name: ModuleName, graph: torch.cuda.CUDAGraph, output: torch.Tensor
) -> torch.Tensor:
    """Replay as a lease would: an eviction that follows waits for what was asked for here."""
    with torch.inference_mode():
        arenas.begin_work([name])
        output.zero_()
        graph.replay()
        found = output.clone()
        arenas.end_work([name])
    return found


def _captured(
    arenas: ArenaWeights, module: Matrices, hidden: torch.Tensor
) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
    side = torch.cuda.Stream(hidden.device)  # type: ignore[no-untyped-call]  # torch's.
    side.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode(), torch.cuda.stream(side):
        module(hidden)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), arenas.gate.capturing():  # noqa: SIM117 - the gate comes first.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = module(hidden)
    return graph, output


def _rows(moves: Sequence[Moves], cycles: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    shown = next((each for each in moves if each.mib == TOLD_MIB), moves[-1])
    per_gib = GIB / MIB / shown.mib
    fraction, plain = shown.copy.p50 / shown.restore.p50, shown.copy.p50 / shown.to_device.p50
    found = {
        "evict_ms_per_gib": (shown.evict.p50 * per_gib, "ms", shown.to_host.p50 * per_gib),
        "evict_p99_to_p50": (shown.evict.p99 / shown.evict.p50, "", shown.to_host.p99 / shown.to_host.p50),
        "restore_fraction_of_copy": (fraction, "", plain),
        "graph_cycles_different": (float(cycles["different"]), "", None),
    }
    return told(found)


def _print_table(moves: Sequence[Moves]) -> None:
    print("\nmilliseconds, p50 / p99; GB/s at p50; plain: tensors that are allocated anew; to: module.to()")
    names = ("MiB", "evict", "ms/GiB", "restore", "GB/s", "pinned copy", "GB/s", "of it", "plain evict/restore", "to")
    print(" ".join(f"{name:>17}" for name in names))
    for each in moves:
        cells = (
            str(each.mib),
            _two(each.evict),
            f"{each.evict.p50 * 1024 / each.mib:.2f}",
            _two(each.restore),
            f"{each.mib * MIB / each.restore.p50 / 1e6:.1f}",
            _two(each.copy),
            f"{each.mib * MIB / each.copy.p50 / 1e6:.1f}",
            f"{each.copy.p50 / each.restore.p50:.3f}",
            f"{each.plain_evict.p50:.2f}/{each.plain_restore.p50:.1f}",
            f"{each.to_host.p50:.0f}/{each.to_device.p50:.0f}",
        )
        print(" ".join(f"{cell:>17}" for cell in cells))


def _two(spread: Spread) -> str:
    return f"{spread.p50:.3f} / {spread.p99:.3f}"


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _synchronously(call: Callable[[], object]) -> None:
    call()
    torch.cuda.synchronize()


def _about(device: torch.device) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name(device),
        "command": shlex.join(["python", "-m", "benchmarks.arena_moves", *sys.argv[1:]]),
        "date": datetime.now(tz=UTC).date().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
