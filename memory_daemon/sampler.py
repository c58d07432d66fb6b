"""Read memory: a GPU's through NVML, the machine's through the kernel. The only file that imports the NVML binding.

A reading that failed is a value with its reason, never a zero. After a failure NVML is let go and begun anew with the
next reading, because handles do not survive a driver that came back; when to try again is the policy's affair.
Devices are named by UUID: numbers change with `CUDA_VISIBLE_DEVICES` and over a restart.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pynvml

from memory_daemon.host_memory import UnreadableError, read_host_memory
from memory_daemon.types import HOST, DeviceId, MemorySample, Sample, SampleFailed

MEMINFO = Path("/proc/meminfo")
GPUS_MAXIMUM = 64

_LOST = {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED}
"""Errors that no waiting mends: the GPU must be reset, or the machine restarted."""
_MISMATCH = {pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH}


class Nvml(Protocol):
    """What is used of the module `pynvml`; every call may raise `pynvml.NVMLError`."""

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name.
        """Begin; calls are counted."""

    def nvmlShutdown(self) -> None:  # noqa: N802 - NVML's name.
        """End one beginning."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVML's name.
        """Return the number of GPUs."""

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802 - NVML's name.
        """Return a GPU's handle."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:  # noqa: N802 - NVML's name.
        """Return a GPU's handle."""

    def nvmlDeviceGetUUID(self, handle: Any) -> str:  # noqa: N802 - NVML's name.
        """Return a GPU's lasting name."""

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:  # noqa: N802 - NVML's name.
        """Return an object with `total` and `free` in bytes."""


def real_nvml() -> Nvml:
    """Return the binding to the driver's library, which it loads when it is first begun."""
    binding: Nvml = pynvml
    return binding


class NvmlSampler:
    """Reads GPUs' memory; begins NVML when it is first needed."""

    def __init__(self, *, nvml: Nvml) -> None:
        self._nvml = nvml
        self._begun = False
        self._handles: dict[DeviceId, Any] = {}

    def __repr__(self) -> str:
        return f"<NvmlSampler {'begun' if self._begun else 'not begun'} | {len(self._handles)} handles>"

    def devices(self) -> tuple[DeviceId, ...]:
        """Return the GPUs there are; raises pynvml.NVMLError, above all where there is no driver."""
        self._begin()
        count = min(self._nvml.nvmlDeviceGetCount(), GPUS_MAXIMUM)
        handles = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        return tuple(DeviceId(self._nvml.nvmlDeviceGetUUID(handle)) for handle in handles)

    def memory_bytes(self, device: DeviceId) -> tuple[int, int]:
        """Return total and free bytes; raises pynvml.NVMLError, after which everything begins anew."""
        try:
            self._begin()
            if device not in self._handles:
                self._handles[device] = self._nvml.nvmlDeviceGetHandleByUUID(device)
            info = self._nvml.nvmlDeviceGetMemoryInfo(self._handles[device])
            return int(info.total), int(info.free)
        except pynvml.NVMLError:
            self.close()
            raise

    def close(self) -> None:
        """Let NVML go; the next reading begins it again."""
        self._handles.clear()
        if self._begun:
            self._begun = False
            # A library that has just failed may fail here too; there is nothing left to release then.
            with contextlib.suppress(pynvml.NVMLError):
                self._nvml.nvmlShutdown()

    def _begin(self) -> None:
        if not self._begun:
            self._nvml.nvmlInit()
            self._begun = True


class Sampler:
    """Reads any device's memory, stamped with both clocks."""

    def __init__(
        self,
        *,
        gpus: NvmlSampler,
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

    def __repr__(self) -> str:
        return f"<Sampler {self._gpus!r} host={self._cgroup_root or self._meminfo}>"

    def gpus(self) -> tuple[DeviceId, ...] | SampleFailed:
        """Return the GPUs there are, or why that cannot be told."""
        try:
            return self._gpus.devices()
        except pynvml.NVMLError as error:
            self._gpus.close()
            return self._failed(DeviceId("nvml"), error)

    def sample(self, device: DeviceId) -> Sample:
        """Read one device's memory now."""
        try:
            total_bytes, free_bytes = self._memory_bytes(device)
        except (pynvml.NVMLError, UnreadableError) as error:
            return self._failed(device, error)
        return MemorySample(
            device=device,
            seconds=self._clock(),
            unix_seconds=self._unix_clock(),
            total_bytes=total_bytes,
            free_bytes=free_bytes,
        )

    def close(self) -> None:
        """Let NVML go."""
        self._gpus.close()

    def _memory_bytes(self, device: DeviceId) -> tuple[int, int]:
        if device != HOST:
            return self._gpus.memory_bytes(device)
        memory = read_host_memory(self._cgroup_root, self._meminfo)
        return memory.total_bytes, memory.free_bytes

    def _failed(self, device: DeviceId, error: Exception) -> SampleFailed:
        code = getattr(error, "value", None)
        words = f"{error}; the driver was updated: restart the machine" if code in _MISMATCH else str(error)
        return SampleFailed(
            device=device,
            seconds=self._clock(),
            unix_seconds=self._unix_clock(),
            reason=words,
            lost=code in _LOST,
        )
