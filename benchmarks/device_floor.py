"""What the GPU's memory does: the context's floor, graphs whose memory leaves and comes back, pages as speech grows.

    python -m benchmarks.device_floor                          on a GPU; each section is a process of its own
    python -m benchmarks.device_floor --device cpu --size tiny the same calls on a fake driver, to see that they run
    python -m benchmarks.device_floor --only graphs,pages      some sections

One that fails prints why, and the next one begins.
"""

import argparse
import faulthandler
import gc
import logging
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Final

import structlog
import torch

from benchmarks.device_memory import MIB, DeviceMemory
from benchmarks.host_memory import host_bytes
from benchmarks.scratch_moves import SCRATCH, Bench
from benchmarks.varied_work import GRAPH_WORK, Mixed, run_varied_kernels
from tts_service.process_settings import settle_libraries
from tts_service.residency.cuda_driver import context_limits, lower_context_limits
from tts_service.types import ModuleName

SECTIONS: Final = ("graphs", "growth", "pages", "floor")
PATIENCE_SECONDS: Final = 150
HOST_FIGURES: Final = ("RssAnon", "RssFile", "RssShmem")
"""A process's own memory, what it has mapped of files (libraries above all), and what it may share."""


def main() -> int:
    """Run sections in processes of their own."""
    options = _options()
    if options.section:
        faulthandler.dump_traceback_later(PATIENCE_SECONDS, exit=True)
        return _run(options)
    failed = 0
    for section in options.only.split(","):
        ways: Sequence[Sequence[str]] = [[]]
        if section == "floor" and options.device != "cpu":
            ways = [[], ["--limits"], ["--limits", "--workspaces"]]
        for way in ways:
            print(f"\n== {section} {' '.join(way)}", flush=True)
            arguments = ["--section", section, "--device", options.device, "--size", options.size, *way]
            ended = subprocess.run([sys.executable, "-m", "benchmarks.device_floor", *arguments], check=False)
            print(f"   ended with {ended.returncode}")
            failed += ended.returncode != 0
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--size", default="full", choices=["full", "tiny"])
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--section", default="", help=argparse.SUPPRESS)
    parser.add_argument("--limits", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--workspaces", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(options: argparse.Namespace) -> int:
    torch.set_num_threads(1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    device = torch.device(options.device)
    try:
        if options.section == "floor":
            _floor(device, limits=options.limits, workspaces=options.workspaces, tiny=options.size == "tiny")
        else:
            settle_libraries(os.environ)
            if device.type == "cuda":
                print(f"   limits {lower_context_limits(device.index or 0)}")
            SCRATCH[options.section](Bench(device))
    except Exception:  # noqa: BLE001 - the other sections are to run all the same.
        traceback.print_exc()
        return 1
    return 0


def _floor(device: torch.device, *, limits: bool, workspaces: bool, tiny: bool) -> None:
    """Say what the process holds after each thing that takes memory for good."""
    memory = DeviceMemory(str(device))
    if workspaces:
        settle_libraries(os.environ)
    if limits:
        print(f"   limits {lower_context_limits(device.index or 0)}")
    told = _Floor(memory)
    torch.zeros(1, device=device)
    told.tell("context")
    bench = Bench(device)
    told.tell("driver open")
    _load_and_evict(bench, 1 if tiny else 1 << 10)
    told.tell("1 GiB came and went")
    run_varied_kernels(device)
    _give_all_back(bench)
    told.tell("varied kernels")
    _in_threads(3, lambda: run_varied_kernels(device))
    _give_all_back(bench)
    told.tell("in three threads")
    name, space = bench.space()
    bench.bring(name, space)
    graphs = bench.graphs(space)
    mixed = [Mixed(kind, graphs, scale=1) for kind in GRAPH_WORK for _ in range(1 if tiny else 10)]
    for each in mixed:
        each.capture()
        each.replayed()
    told.tell(f"{len(mixed)} graphs, there")
    bench.weights.evict(name)
    _give_all_back(bench)
    told.tell(f"{len(mixed)} graphs, away")
    if bench.is_cuda:
        print(f"   limits in the end {context_limits()}")


class _Floor:
    """Prints what has been added since the last time."""

    def __init__(self, memory: DeviceMemory) -> None:
        self._memory = memory
        self._last = 0.0

    def tell(self, what: str) -> None:
        reading = self._memory.reading()
        held = reading.get("device", 0.0)
        others = f"NVML's process {reading.get('process', 0.0):.0f} | torch {reading.get('reserved', 0.0):.0f}"
        host = "".join(f" {name} {host_bytes(name) / MIB:.0f}" for name in HOST_FIGURES)
        print(f"   {what:24} {held:8.0f} MiB ({held - self._last:+.0f}) | {others} | host{host}")
        self._last = held


def _load_and_evict(bench: Bench, mib: int) -> None:
    module = torch.nn.Module()
    module.register_buffer("numbers", torch.ones(mib * MIB // 4))
    bench.weights.restore(ModuleName("large"), module)
    bench.weights.evict(ModuleName("large"))


def _give_all_back(bench: Bench) -> None:
    gc.collect()
    bench.weights.give_back()


def _in_threads(count: int, step: Callable[[], object]) -> None:
    threads = [threading.Thread(target=step) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    raise SystemExit(main())
