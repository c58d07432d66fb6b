"""Read memory: a GPU's through NVML, the machine's through the kernel. The only file that imports the NVML binding.

A reading that failed is a value with its reason and its kind, never a zero; when to try again is the policy's affair.
The binding weighs 11 MiB, so a machine without the driver's library never loads it.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path

from memory_daemon.gpu_memory import GpuEvent, GpuMemory, GpuUnreadableError, Nvml, ProcessUse
from memory_daemon.host_memory import UnreadableError, read_host_memory
from memory_daemon.types import HOST, DeviceId, Fault, MemorySample, Sample, SampleFailed

MEMINFO = Path("/proc/meminfo")
NVML_LIBRARY = "libnvidia-ml.so.1"
PROCESSES_SECONDS = 60.0
"""Listing processes takes 4.5 ms under a lock of the whole driver, so it is done no more often."""
EVENTS_SECONDS = 1.0


def load_nvml() -> Nvml:
    """Return the binding to the driver's library; raises GpuUnreadableError where there is none."""
    try:
        ctypes.CDLL(NVML_LIBRARY)
    except OSError as error:
        raise GpuUnreadableError(f"no NVIDIA driver: {error}", fault=Fault.NO_DRIVER) from error
    import pynvml  # noqa: PLC0415 - See the head of the file.

    binding: Nvml = pynvml
    return binding


class Sampler:
    """Reads any device's memory, stamped with both clocks."""

    def __init__(
        self,
        *,
        gpus: GpuMemory,
        cgroup_root: Path | None,
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
        meminfo: Path = MEMINFO,
    ) -> None:
        self._gpus = gpus
        self._cgroup_root = cgroup_root
        self._clock = clock
        self._unix_clock = unix_clock
        self._meminfo = meminfo
        self._listed_seconds: dict[DeviceId, float] = {}
        self._events_seconds: float | None = None

    def __repr__(self) -> str:
        return f"<Sampler {self._gpus!r} host={self._cgroup_root or self._meminfo}>"

    def gpus(self) -> tuple[DeviceId, ...] | SampleFailed:
        """Return the GPUs there are, or why that cannot be told."""
        try:
            return self._gpus.devices()
        except GpuUnreadableError as error:
            return self._failed(DeviceId("nvml"), error, error.fault)

    def sample(self, device: DeviceId) -> Sample:
        """Read one device's memory now."""
        try:
            total_bytes, free_bytes = self._memory_bytes(device)
        except GpuUnreadableError as error:
            return self._failed(device, error, error.fault)
        except UnreadableError as error:
            return self._failed(device, error, Fault.OTHER)
        return MemorySample(
            device=device,
            seconds=self._clock(),
            unix_seconds=self._unix_clock(),
            total_bytes=total_bytes,
            free_bytes=free_bytes,
        )

    def processes(self, device: DeviceId) -> tuple[ProcessUse, ...]:
        """Return who uses a GPU, to explain what was decided; nothing if it was asked lately, or cannot be told."""
        if device == HOST or not _is_due(self._listed_seconds.get(device), PROCESSES_SECONDS, self._clock()):
            return ()
        self._listed_seconds[device] = self._clock()
        try:
            return self._gpus.processes(device)
        except GpuUnreadableError:
            return ()

    def events(self) -> tuple[GpuEvent, ...]:
        """Return what has happened to GPUs; nothing if it was asked within the second, or cannot be told."""
        if not _is_due(self._events_seconds, EVENTS_SECONDS, self._clock()):
            return ()
        self._events_seconds = self._clock()
        try:
            return self._gpus.events()
        except GpuUnreadableError:
            return ()

    def close(self) -> None:
        """Let NVML go."""
        self._gpus.close()

    def _memory_bytes(self, device: DeviceId) -> tuple[int, int]:
        if device != HOST:
            return self._gpus.memory_bytes(device)
        memory = read_host_memory(self._cgroup_root, self._meminfo)
        return memory.total_bytes, memory.free_bytes

    def _failed(self, device: DeviceId, error: Exception, fault: Fault) -> SampleFailed:
        return SampleFailed(
            device=device,
            seconds=self._clock(),
            unix_seconds=self._unix_clock(),
            reason=str(error),
            lost=fault is Fault.GPU_LOST,
            fault=fault,
        )


def _is_due(last_seconds: float | None, period_seconds: float, now_seconds: float) -> bool:
    return last_seconds is None or now_seconds - last_seconds >= period_seconds
