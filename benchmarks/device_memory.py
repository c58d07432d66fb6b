"""What a process holds of a GPU's memory, as torch and as NVML see it; nothing where there is no GPU."""

import os
from pathlib import Path
from typing import Any

import torch

MIB = 1 << 20

Reading = dict[str, float]
"""MiB by name: `allocated`, `reserved` and their peaks are torch's, `device` and `process` NVML's."""


class DeviceMemory:
    """Reads memory from a start that must lie before the process's first use of the GPU.

    `device` is all that the GPU has in use beyond what it had at the start; with nothing else at work there it is the
    process, its CUDA context included. `process` is what NVML lists for the process, which containers often hide.
    """

    def __init__(self, device: str) -> None:
        self._handle: Any = None
        self._start_bytes = 0
        if torch.device(device).type == "cuda":
            assert not torch.cuda.is_initialized(), "the GPU is in use already"  # type: ignore[no-untyped-call]  # torch's.
            self._nvml = _nvml()
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
            by_uuid = visible.startswith("GPU-")
            find = self._nvml.nvmlDeviceGetHandleByUUID if by_uuid else self._nvml.nvmlDeviceGetHandleByIndex
            self._handle = find(visible if by_uuid else int(visible or 0))
            self._start_bytes = self._used_bytes()

    def __repr__(self) -> str:
        return f"<DeviceMemory {self.reading()}>"

    def reading(self) -> Reading:
        """Return what is held now, and torch's peaks since they began anew."""
        if self._handle is None:
            return {}
        torch.cuda.synchronize()
        return {
            "allocated": torch.cuda.memory_allocated() / MIB,
            "reserved": torch.cuda.memory_reserved() / MIB,
            "peak_allocated": torch.cuda.max_memory_allocated() / MIB,
            "peak_reserved": torch.cuda.max_memory_reserved() / MIB,
            "device": (self._used_bytes() - self._start_bytes) / MIB,
            **self._of_process(),
        }

    def begin_peaks(self) -> None:
        """Let the peaks begin anew."""
        if self._handle is not None:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()

    def _used_bytes(self) -> int:
        return int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used)

    def _of_process(self) -> Reading:
        running = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        own = [each.usedGpuMemory for each in running if each.pid == os.getpid()]
        return {"process": own[0] / MIB} if own and own[0] else {}


def begin_host_peak() -> None:
    """Let VmHWM begin anew, where the kernel allows it."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def wait_for_device(device: str) -> None:
    """Return when the GPU has done what it was told."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def _nvml() -> Any:
    import pynvml  # noqa: PLC0415 - only where there is a GPU.

    pynvml.nvmlInit()
    return pynvml
