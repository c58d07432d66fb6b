"""Read memory: a GPU's through NVML, the machine's through the kernel. The only file that imports the NVML binding.

A reading that failed is a value with its reason, never a zero. After a failure NVML is let go and begun anew with the
next reading, because handles do not survive a driver that came back; when to try again is the policy's affair.
Devices are named by UUID: numbers change with `CUDA_VISIBLE_DEVICES` and over a restart. The binding weighs 11 MiB, so
a machine without the driver's library never loads it.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from memory_daemon.host_memory import UnreadableError, read_host_memory
from memory_daemon.types import HOST, DeviceId, MemorySample, Sample, SampleFailed

MEMINFO = Path("/proc/meminfo")
NVML_LIBRARY = "libnvidia-ml.so.1"
GPUS_MAXIMUM = 64


class GpuUnreadableError(Exception):
    """NVML failed; `lost` if no waiting mends it, because the GPU must be reset or the machine restarted."""

    def __init__(self, reason: str, *, lost: bool = False) -> None:
        super().__init__(reason)
        self.lost = lost


class Nvml(Protocol):
    """What is used of the module `pynvml`; every call may raise its `NVMLError`, whose `value` is one of the codes."""

    NVMLError: type[Exception]
    NVML_ERROR_GPU_IS_LOST: int
    NVML_ERROR_RESET_REQUIRED: int
    NVML_ERROR_LIB_RM_VERSION_MISMATCH: int

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


def load_nvml() -> Nvml:
    """Return the binding to the driver's library; raises GpuUnreadableError where there is none."""
    try:
        ctypes.CDLL(NVML_LIBRARY)
    except OSError as error:
        raise GpuUnreadableError(f"no NVIDIA driver: {error}") from error
    import pynvml  # noqa: PLC0415 - See the head of the file.

    binding: Nvml = pynvml
    return binding


class NvmlSampler:
    """Reads GPUs' memory; loads and begins NVML when it is first needed."""

    def __init__(self, *, load: Callable[[], Nvml]) -> None:
        self._load = load
        self._nvml: Nvml | None = None
        self._begun = False
        self._handles: dict[DeviceId, Any] = {}

    def __repr__(self) -> str:
        return f"<NvmlSampler {'begun' if self._begun else 'not begun'} | {len(self._handles)} handles>"

    def devices(self) -> tuple[DeviceId, ...]:
        """Return the GPUs there are; raises GpuUnreadableError, above all where there is no driver."""
        with self._begin() as nvml:
            count = min(nvml.nvmlDeviceGetCount(), GPUS_MAXIMUM)
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            return tuple(DeviceId(nvml.nvmlDeviceGetUUID(handle)) for handle in handles)

    def memory_bytes(self, device: DeviceId) -> tuple[int, int]:
        """Return total and free bytes; raises GpuUnreadableError, after which everything begins anew."""
        with self._begin() as nvml:
            if device not in self._handles:
                self._handles[device] = nvml.nvmlDeviceGetHandleByUUID(device)
            info = nvml.nvmlDeviceGetMemoryInfo(self._handles[device])
            return int(info.total), int(info.free)

    def close(self) -> None:
        """Let NVML go; the next reading begins it again."""
        self._handles.clear()
        if self._begun and self._nvml is not None:
            self._begun = False
            # A library that has just failed may fail here too; there is nothing left to release then.
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()

    @contextlib.contextmanager
    def _begin(self) -> Iterator[Nvml]:
        """Have NVML begun inside; its errors come out as GpuUnreadableError."""
        if self._nvml is None:
            self._nvml = self._load()
        nvml = self._nvml
        try:
            if not self._begun:
                nvml.nvmlInit()
                self._begun = True
            yield nvml
        except nvml.NVMLError as error:
            self.close()
            raise _unreadable(nvml, error) from error


def _unreadable(nvml: Nvml, error: Exception) -> GpuUnreadableError:
    code = getattr(error, "value", None)
    if code == nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return GpuUnreadableError(f"{error}; the driver was updated: restart the machine")
    return GpuUnreadableError(str(error), lost=code in {nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED})


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
        except GpuUnreadableError as error:
            return self._failed(DeviceId("nvml"), error, lost=error.lost)

    def sample(self, device: DeviceId) -> Sample:
        """Read one device's memory now."""
        try:
            total_bytes, free_bytes = self._memory_bytes(device)
        except GpuUnreadableError as error:
            return self._failed(device, error, lost=error.lost)
        except UnreadableError as error:
            return self._failed(device, error, lost=False)
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

    def _failed(self, device: DeviceId, error: Exception, *, lost: bool) -> SampleFailed:
        return SampleFailed(
            device=device, seconds=self._clock(), unix_seconds=self._unix_clock(), reason=str(error), lost=lost
        )
