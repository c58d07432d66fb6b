"""How long after memory gets short it is given back, and what the daemon costs while nothing happens.

Two machines, each with the real daemon: *service* is the real speech service on a CPU, in a cgroup whose numbers are
written by this script; *gpu* is a service that speaks the protocol and moves at once, on a GPU that a fake driver
library tells of, so that only the daemon's own share is left. A round is: memory falls below a mark, modules leave,
memory comes back, modules come home. Times are from the first reading below the mark, which the journal tells, and from
the fall itself, which the period between readings comes on top of.

`python -m benchmarks.reaction --out benchmarks/results/reaction.json`
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc

from benchmarks.process_cost import IDLE_SECONDS, idle_cost
from benchmarks.spread import spread_of
from greenroom.memory.v1 import residency_pb2, residency_pb2_grpc
from greenroom.tts.v1 import tts_pb2, tts_pb2_grpc
from memory_daemon.journal import journal_files
from memory_daemon.journal_records import Entry, Sampled, read_journal
from memory_daemon.types import Pressure
from tests.fakes.daemon_process import DaemonProcess
from tests.fakes.fake_cgroup import FakeCgroup
from tests.fakes.fake_service import FakeService
from tests.fakes.nvml_library import NvmlState, compiled
from tools.both import Both
from tools.process import end_on_signals

GB = 10**9
TOTAL_BYTES = 8 * GB
MARKS = {"critical": 1, "low": 3, "high": 3}
"""In GB; to give back up to high, everything has to leave, and is not next to nothing beside what is missing."""
ROOMY_BYTES, LOW_BYTES, CRITICAL_BYTES = 7 * GB, 29 * GB // 10, GB // 2
GRACE_SECONDS = 1.0
SPEECH = ("voice", "watermark.encoder")
GPU = "GPU-fake"
ROUND_SECONDS_MAXIMUM = 20.0
REST_SECONDS = 0.3
"""Between rounds: longer than the shortest absence and the rest after an action."""
NUMBERS = {
    "GRACE_SECONDS": str(GRACE_SECONDS),
    "COOL_DOWN_SECONDS": "0.1",
    "MINIMUM_RESIDENCE_SECONDS": "0.1",
    "MINIMUM_ABSENCE_SECONDS": "0.1",
    **{name.upper(): f"{size}GB" for name, size in MARKS.items()},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a round is made of: memory that is told, modules that leave, a way to bring them home."""

    fall_to: Callable[[int], None]
    freed: Callable[[], bool]
    come_home: Callable[[], None]
    journal: Path
    daemon_pid: int


@contextmanager
def service_machine(folder: Path) -> Iterator[Machine]:
    """Run the real service and the real daemon in a cgroup of ours."""
    cgroup = FakeCgroup(folder / "cgroup", limit_bytes=TOTAL_BYTES, used_bytes=TOTAL_BYTES - ROOMY_BYTES)
    watched = {"GREENROOM_DAEMON_MEMORY": "host", "GREENROOM_DAEMON_CGROUP_ROOT": str(cgroup.folder)}
    numbers = {f"GREENROOM_DAEMON_POLICY__{name}": value for name, value in NUMBERS.items()}
    stay = {"GREENROOM_SERVICE_RESIDENCY__MINIMUM_STAY_SECONDS": "0"}
    with Both(folder, service_env=stay, daemon_env=watched | numbers) as both, ExitStack() as stack:
        control = residency_pb2_grpc.ResidencyServiceStub(
            stack.enter_context(grpc.insecure_channel(f"unix:{both.control_socket}"))
        )
        speech = tts_pb2_grpc.TextToSpeechServiceStub(stack.enter_context(grpc.insecure_channel(both.speech_address)))

        def freed() -> bool:
            modules = control.GetResidency(residency_pb2.GetResidencyRequest(), timeout=5).report.modules
            return all(status.tier != status.home for status in modules if status.module in SPEECH)

        def come_home() -> None:
            list(speech.Synthesize(tts_pb2.SynthesizeRequest(text="Home."), timeout=60))

        yield Machine(
            fall_to=lambda free_bytes: cgroup.use(TOTAL_BYTES - free_bytes),
            freed=freed,
            come_home=come_home,
            journal=folder / "state" / "greenroom" / "daemon" / "journal",
            daemon_pid=both.daemon.pid,
        )


@contextmanager
def gpu_machine(folder: Path) -> Iterator[Machine]:
    """Run the real daemon beside a service that moves at once, over a driver library of ours."""
    folder.mkdir()
    state = NvmlState(folder / "nvml.txt", compiled(folder))

    def tell(free_bytes: int) -> None:
        state.tell(f"gpu {GPU} {TOTAL_BYTES} {free_bytes} 0")

    tell(ROOMY_BYTES)
    modules = dict.fromkeys(SPEECH, GB // 25)
    socket = folder / "services" / "speech.sock"
    # What it does not serve, gRPC answers.
    service = FakeService(socket, modules, gpu=GPU, report_seconds=1.0)  # type: ignore[abstract]  # See above.
    numbers = {f"GREENROOM_DAEMON_POLICY__{name}": value for name, value in NUMBERS.items()}
    daemon = DaemonProcess(folder, "--memory", "gpu", environment={**state.environment, **numbers})
    with ExitStack() as stack:
        service.start()
        stack.callback(service.stop)
        daemon.start()
        stack.callback(daemon.close)
        service.wait_for(lambda: bool(service.accepted))

        def come_home() -> None:
            for name in SPEECH:
                service.use(name)

        yield Machine(
            fall_to=tell,
            freed=lambda: all(service.tier(name) == residency_pb2.TIER_HOST for name in SPEECH),
            come_home=come_home,
            journal=daemon.state / "journal",
            daemon_pid=daemon.pid,
        )


def one_round(machine: Machine, free_bytes: int) -> tuple[float, float]:
    """Let memory fall; return the wall times of the fall, and of everything having left."""
    machine.fall_to(ROOMY_BYTES)
    time.sleep(REST_SECONDS)
    machine.come_home()
    time.sleep(REST_SECONDS)
    fell = time.time()
    machine.fall_to(free_bytes)
    deadline = time.monotonic() + ROUND_SECONDS_MAXIMUM
    while not machine.freed():
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing was given back within {ROUND_SECONDS_MAXIMUM:g} s")
        time.sleep(0.001)
    return fell, time.time()


def first_reading(journal: Path, pressure: Pressure, since: float) -> float:
    """Return when memory was first read to be in that state."""
    entries = [one for one in read_journal(journal_files(journal)) if isinstance(one, Entry)]
    return min(
        entry.unix_seconds
        for entry in entries
        if isinstance(entry.record, Sampled) and entry.record.pressure is pressure and entry.unix_seconds >= since
    )


def reactions(machine: Machine, free_bytes: int, pressure: Pressure, rounds: int) -> dict[str, Any]:
    """Return the spread of the times of some rounds, in milliseconds."""
    times = [one_round(machine, free_bytes) for _ in range(rounds)]
    readings = [first_reading(machine.journal, pressure, fell) for fell, _ in times]
    machine.fall_to(ROOMY_BYTES)
    return {
        "from_first_reading_ms": rounded(freed - read for (_, freed), read in zip(times, readings, strict=True)),
        "from_fall_ms": rounded(freed - fell for fell, freed in times),
    }


def rounded(seconds: Iterator[float]) -> dict[str, float]:
    """Return the spread, to a tenth of a millisecond."""
    return {name: round(value, 1) for name, value in asdict(spread_of(list(seconds))).items()}


def measure(make: Callable[[Path], Any], folder: Path, rounds: int) -> dict[str, Any]:
    """Return all figures of a machine."""
    with make(folder) as machine:
        return {
            "critical": reactions(machine, CRITICAL_BYTES, Pressure.CRITICAL, rounds),
            "low": {"grace_ms": 1000 * GRACE_SECONDS, **reactions(machine, LOW_BYTES, Pressure.LOW, rounds)},
            "idle": idle_cost(machine.daemon_pid),
        }


def text_of(figures: dict[str, Any]) -> str:
    """Return the figures as lines for people."""
    lines = [f"{'':<34}{'p50':>9}{'p99':>9}{'worst':>9}"]
    for name in ("service", "gpu"):
        for mark in ("critical", "low"):
            for since in ("from_first_reading_ms", "from_fall_ms"):
                spread = figures[name][mark][since]
                words = f"{name}, {mark}, {since.removesuffix('_ms').replace('_', ' ')}"
                lines.append(f"{words:<34}{spread['p50']:>9.1f}{spread['p99']:>9.1f}{spread['worst']:>9.1f} ms")
        idle = figures[name]["idle"]
        lines.append(
            f"{name}, idle daemon: {idle['core_percent']:.2f} % of a core over {IDLE_SECONDS:g} s, "
            f"{idle['wakings_per_second']:.0f} wakings a second, {idle['resident_mib']:.1f} MiB"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write what `--out` names, and the lines beside it."""
    end_on_signals()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="rounds for each mark on each machine")
    parser.add_argument("--out", type=Path, help="file for the figures (JSON)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as folder:
        figures: dict[str, Any] = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "rounds": options.rounds,
            "service": measure(service_machine, Path(folder) / "service", options.rounds),
            "gpu": measure(gpu_machine, Path(folder) / "gpu", options.rounds),
        }
    print(text_of(figures))
    if options.out is not None:
        options.out.write_text(json.dumps(figures, indent=2) + "\n")
        options.out.with_suffix(".txt").write_text(text_of(figures) + "\n")


if __name__ == "__main__":
    main()
