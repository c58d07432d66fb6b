"""Reads memory through the daemon's own sampler and the real binding, one command a line of its input.

`python -m tests.fakes.nvml_probe [PATIENCE_SECONDS]` runs against whatever `libnvidia-ml.so.1` the loader finds: the
fake one in tests, the driver's on a GPU. Commands: `devices`, `sample UUID`, `processes UUID`, `events`, `settle` (wait
until no call hangs), `time UUID` (the median of 1,000 readings, in microseconds).
"""

import json
import statistics
import sys
import time
from typing import Any

from memory_daemon.gpu_memory import GpuMemory
from memory_daemon.patient_sampler import PatientSampler
from memory_daemon.sampler import Sampler, load_nvml
from memory_daemon.types import DeviceId, SampleFailed

READINGS = 1_000
PATIENCE_SECONDS = 10.0
"""What is tried here is mostly not how fast a busy machine answers."""


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
            return statistics.median(timed(sampler, DeviceId(uuid)) for _ in range(READINGS)) * 1e6
        case _:
            raise SystemExit(f"no such command: {words}")


def timed(sampler: PatientSampler, device: DeviceId) -> float:
    """Return how long one reading takes, in seconds."""
    begun_seconds = time.perf_counter()
    sampler.sample(device)
    return time.perf_counter() - begun_seconds


def main() -> None:
    """Answer commands until there are no more."""
    gpus = GpuMemory(load=load_nvml)
    blocking = Sampler(gpus=gpus, cgroup_root=None, clock=time.monotonic, unix_clock=time.time)
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
