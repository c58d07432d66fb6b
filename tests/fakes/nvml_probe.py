"""Reads memory through the daemon's own sampler and the real binding, one command a line of its input.

`python -m tests.fakes.nvml_probe [PATIENCE_SECONDS]` runs against whatever `libnvidia-ml.so.1` the loader finds: the
fake one in tests, the driver's on a GPU. Commands: `devices`, `sample UUID`, `processes UUID`, `events`, `settle` (wait
until no call hangs), `time UUID` (the median of 1,000 readings, in microseconds), `times UUID` (1,000 readings each,
without and with the thread that keeps a driver that hangs away from the loop, in microseconds), `v2 UUID` (whether the
newer memory information is read).
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from memory_daemon.gpu_memory import GpuEvent, GpuMemory
from memory_daemon.patient_sampler import PatientSampler
from memory_daemon.sampler import Sampler, load_nvml
from memory_daemon.types import DeviceId, SampleFailed

READINGS = 1_000
PATIENCE_SECONDS = 10.0
"""What is tried here is mostly not how fast a busy machine answers."""


class Readings(Sampler):
    """Reads memory, and leaves events to who asks for them."""

    def events(self) -> tuple[GpuEvent, ...]:
        """Return nothing."""
        return ()


def answer(sampler: PatientSampler, gpus: GpuMemory, words: list[str]) -> Any:
    """Return what there is to say to a command."""
    match words:
        case ["devices"]:
            found = sampler.gpus()
            return [found.fault.value, found.reason] if isinstance(found, SampleFailed) else list(found)
        case ["sample", uuid]:
            sample = sampler.sample(DeviceId(uuid))
            if isinstance(sample, SampleFailed):
                return {"fault": sample.fault.value, "lost": sample.lost, "reason": sample.reason}
            return {"total": sample.total_bytes, "free": sample.free_bytes}
        case ["processes", uuid]:
            return [[one.process, one.used_bytes] for one in gpus.processes(DeviceId(uuid))]
        case ["events"]:
            return [[one.device, one.kind, one.number] for one in gpus.events()]
        case ["settle"]:
            while sampler.hangs:
                time.sleep(0.01)
            return "settled"
        case ["time", uuid]:
            return statistics.median(timed(lambda: sampler.sample(DeviceId(uuid))) for _ in range(READINGS)) * 1e6
        case ["times", uuid]:
            return {
                "reading": [timed(lambda: gpus.memory_bytes(DeviceId(uuid))) * 1e6 for _ in range(READINGS)],
                "patient": [timed(lambda: sampler.sample(DeviceId(uuid))) * 1e6 for _ in range(READINGS)],
            }
        case ["v2", uuid]:
            gpus.memory_bytes(DeviceId(uuid))
            return bool(gpus._version)
        case _:
            raise SystemExit(f"no such command: {words}")


def timed(read: Callable[[], object]) -> float:
    """Return how long one reading takes, in seconds."""
    begun_seconds = time.perf_counter()
    read()
    return time.perf_counter() - begun_seconds


def main() -> None:
    """Answer commands until there are no more."""
    gpus = GpuMemory(load=load_nvml)
    blocking = Readings(gpus=gpus, cgroup_root=None, clock=time.monotonic, unix_clock=time.time)
    patience_seconds = float(sys.argv[1]) if sys.argv[1:] else PATIENCE_SECONDS
    sampler = PatientSampler(
        sampler=blocking, clock=time.monotonic, unix_clock=time.time, patience_seconds=patience_seconds
    )
    sampler.start()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(sampler, gpus, line.split())) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
