"""What of an NVIDIA driver is in a process: files of CUDA that are mapped, and devices that are open.

A CUDA context needs /dev/nvidia-uvm open for as long as it lives. A mapped driver is none: NVML maps it for questions
about versions. So mapped files are told, and the open device and NVML's list of processes decide.
"""

import os
from pathlib import Path
from typing import Any, Final

UNIFIED_MEMORY: Final = "/dev/nvidia-uvm"


def driver_traces(process: int | str) -> dict[str, Any]:
    """Return the mapped files of CUDA, the open devices of the driver, and the resident memory of a process."""
    return {
        "mapped": mapped_cuda(process),
        "open": open_devices(process),
        "resident_mib": round(resident_mib(process), 1),
    }


def holds_context(traces: dict[str, Any], bare: dict[str, Any]) -> bool:
    """Tell whether a process has open what a context needs, and what is not NVML's own, as a bare process shows."""
    return UNIFIED_MEMORY in traces["open"] and UNIFIED_MEMORY not in bare["open"]


def mapped_cuda(process: int | str) -> list[str]:
    """Return the files of a CUDA driver or runtime that a process has mapped; NVML's are none of them."""
    lines = Path(f"/proc/{process}/maps").read_text(encoding="utf-8").splitlines()
    return sorted({line.split()[-1] for line in lines if "libcuda" in line})


def open_devices(process: int | str) -> list[str]:
    """Return the devices of the driver that a process has open, each once."""
    found = set()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        try:
            found.add(str(entry.readlink()))
        except OSError:
            # It was closed meanwhile.
            continue
    return sorted(name for name in found if name.startswith("/dev/nvidia"))


def resident_mib(process: int | str) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
