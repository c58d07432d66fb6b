"""What an order to move a module costs the process that speaks: time on a core, by part, beside the moves themselves.

    python -m benchmarks.move_costs                 prints microseconds a move, part by part
    python -m benchmarks.move_costs --seconds 5     for longer

The shipped control server, governance, residency and arenas serve a client in a process of its own, over a driver for
which memory costs nothing: copies take as long as on a PCIe 5 bus, and all other calls only give Python's lock away and
take it back. So what is left is ours. A thread that does what a speaking one does (some Python, then a call without
Python's lock) tells what of it is lost to whoever speaks. Nothing here needs a GPU.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
import torch
from prometheus_client import CollectorRegistry

from benchmarks.free_driver import FreeDriver
from benchmarks.restless import restless
from benchmarks.spread import spread_of
from benchmarks.unnoticed_moves import Many
from tests.fakes.fake_device import FakeDevice
from tts_service.api.module_health import ModuleHealth
from tts_service.api.residency import ControlLimits, ResidencyServicer, ServiceIdentity
from tts_service.config import ServiceConfig
from tts_service.control_server import ControlServer
from tts_service.control_socket import ControlSocket
from tts_service.event_log import configure_logging
from tts_service.metrics_residency import MoveMetrics
from tts_service.models.module_spec import ModuleSpec
from tts_service.process_settings import SWITCH_SECONDS
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.governance import Governance
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.residency.process_memory import ProcessMemory
from tts_service.residency.types import Device, Tier
from tts_service.types import ModuleName

MIB: Final = 1 << 20
SPEECH_MIB: Final = (1016, 8, 215, 80, 60, 9)
"""What speech holds, beside what moves: T3, its scratch memory, flow, vocoder, sound's scratch memory, mark."""

ENCODERS: Final = {"tokenizer": 474, "speaker_encoder": 28, "voice_encoder": 6, "detector": 28}
STEP_PYTHON: Final = 400
"""Rounds of a loop: about 20 microseconds of Python between two calls, as between two launches."""


class Speaking(threading.Thread):
    """Some Python and then a call without its lock, again and again: what a thread does that launches kernels.

    `waited_share` is the part of its time in which it neither ran nor stood in line for a core: it waited for the lock.
    """

    def __init__(self) -> None:
        super().__init__(name="speaking")
        self.steps: list[float] = []
        self.waited_share = 0.0
        self._ends = threading.Event()

    def run(self) -> None:
        """Step until told to stop."""
        values = torch.zeros(4096)
        began, ran = time.perf_counter(), _ran_seconds()
        before = began
        while not self._ends.is_set():
            for _ in range(STEP_PYTHON):
                pass
            values.add_(1)
            now = time.perf_counter()
            self.steps.append(now - before)
            before = now
        passed = before - began
        self.waited_share = max(0.0, passed - (_ran_seconds() - ran)) / passed

    def end(self) -> None:
        """Stop, and wait for it."""
        self._ends.set()
        self.join()


def _ran_seconds() -> float:
    """Return how long this thread has had a core, or stood in line for one."""
    task = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    return sum(int(each) for each in task.read_text(encoding="ascii").split()[:2]) / 1e9


@contextmanager
def served(driver: FreeDriver) -> Iterator[tuple[Path, ResidencyManager]]:
    """Serve the control path of a service whose modules are on this driver's device."""
    sizes = {**{f"speech {number}": mib for number, mib in enumerate(SPEECH_MIB)}, **ENCODERS}
    manager = ResidencyManager(
        [
            ModuleSpec(
                name=ModuleName(name), load=partial(Many, mib * MIB), home_bytes=0, rests_at_home=name not in ENCODERS
            )
            for name, mib in sizes.items()
        ],
        mover=Mover(
            memory=ProcessMemory(), clock=time.monotonic, device=ArenaWeights(driver, FakeDevice(), gate=CaptureGate())
        ),
        tiers=(Tier.DEVICE, Tier.HOST, Tier.DISK),
        on_move=MoveMetrics(CollectorRegistry()).moved,
    )
    manager.start()
    identity = ServiceIdentity(
        service_name="costs", instance_id="costs", devices=(Device(device_id="free", tier=Tier.DEVICE),)
    )
    governance = Governance(residency=manager, clock=time.monotonic)
    servicer = ResidencyServicer(governance=governance, identity=identity, limits=ControlLimits())
    with tempfile.TemporaryDirectory(prefix="greenroom-costs") as folder:
        control = ControlServer(socket=ControlSocket(Path(folder) / "c"), governance=governance, servicer=servicer)
        control.start()
        with _heard(manager):
            yield control.socket_path, manager
        control.stop()
    manager.close()


@contextmanager
def _heard(manager: ResidencyManager) -> Iterator[None]:
    """Let health listen in an event loop, as the service's does."""
    loop = asyncio.new_event_loop()
    health = ModuleHealth(manager.broken_modules, lambda _: None)

    def modules_changed() -> None:
        if health.differs():
            loop.call_soon_threadsafe(health.check)

    unsubscribe = manager.subscribe(modules_changed)
    thread = threading.Thread(target=loop.run_forever, name="event loop")
    thread.start()
    try:
        yield
    finally:
        unsubscribe()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def measured(seconds: float) -> dict[str, Any]:
    """Return microseconds on a core a move by part, calls of the driver a move, and what a speaking thread loses."""
    driver = FreeDriver()
    with served(driver) as (path, manager):
        still = _spoken(seconds)
        with restless(str(path), tuple(ENCODERS), ("device", "host")):
            time.sleep(0.2)
            before, began, calls = _moves(manager), _thread_seconds(), driver.calls.copy()
            cpu, since = time.process_time(), time.monotonic()
            time.sleep(seconds)
            moves, spent = _moves(manager) - before, _thread_seconds()
            cpu, passed = time.process_time() - cpu, time.monotonic() - since
            calls = driver.calls - calls
            with manager.claim([name for name in manager.modules if name not in ENCODERS]):
                before, moving = _moves(manager), _spoken(seconds)
                spoken_moves = _moves(manager) - before
    parts: defaultdict[str, float] = defaultdict(float)
    for name, used in spent.items():
        parts[_part(name)] += used - began.get(name, 0.0)
    found = {name: 1e6 * used / moves for name, used in parts.items()}
    return {
        "moves_per_second": moves / passed,
        "parts_us": {**found, "gRPC's own threads": 1e6 * (cpu - sum(parts.values())) / moves},
        "all_us": 1e6 * cpu / moves,
        "python_us": sum(found.values()),
        "driver_calls": {name: count / moves for name, count in calls.items()},
        "speaking": {"still": _told(still, 0, seconds), "moving": _told(moving, spoken_moves, seconds)},
    }


def _told(speaking: Speaking, moves: int, seconds: float) -> dict[str, float]:
    spread = spread_of(speaking.steps)
    return {
        "p50_us": 1e3 * spread.p50,
        "p99_us": 1e3 * spread.p99,
        "waited_percent": 100 * speaking.waited_share,
        "moves_per_second": moves / seconds,
    }


def _spoken(seconds: float) -> Speaking:
    speaking = Speaking()
    speaking.start()
    time.sleep(seconds)
    speaking.end()
    return speaking


def _moves(manager: ResidencyManager) -> int:
    return sum(each.restores + each.evictions for each in manager.report().modules)


def _thread_seconds() -> dict[str, float]:
    """Return what each of Python's threads has had of a core."""
    alive = [each for each in threading.enumerate() if each.ident is not None]
    return {each.name: time.clock_gettime(time.pthread_getcpuclockid(each.ident or 0)) for each in alive}


def _part(thread: str) -> str:
    if thread.startswith("control"):
        return "the call's own thread"
    return {"MainThread": "this benchmark"}.get(thread, "gRPC's queue" if "_serve" in thread else thread)


def print_found(found: dict[str, Any]) -> None:
    """Print what was measured, part by part."""
    rate, python_us = found["moves_per_second"], found["python_us"]
    print(f"{rate:.0f} moves a second while nobody speaks; microseconds on a core a move:")
    for name, value in sorted(found["parts_us"].items(), key=lambda each: -each[1]):
        print(f"  {value:8.1f} {name}")
    print(f"  {python_us:8.1f} in Python's threads, {found['all_us']:.1f} in all")
    for state, each in found["speaking"].items():
        beside = each["moves_per_second"]
        print(f"speaking, {state}: {beside:.0f} moves a second, {python_us * beside / 1e4:.1f} % of a core;", end=" ")
        print(f"waits {each['waited_percent']:.2f} % of its time for Python's lock,", end=" ")
        print(f"a step takes {each['p50_us']:.1f} us, p99 {each['p99_us']:.1f}")
    calls = ", ".join(f"{name} {count:.2f}" for name, count in found["driver_calls"].items())
    print(f"calls of the driver a move: {calls}")


def main() -> int:
    """Measure and print."""
    sys.setswitchinterval(SWITCH_SECONDS)  # As the service does.
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        configure_logging(ServiceConfig())
        structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=nowhere))
        found = measured(options.seconds)
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    print_found(found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
