"""What this process holds of a GPU in all, as NVML tells it: the only measure that has the driver's context in it.

In containers NVML may list processes by ids of another namespace, without what they hold, or not at all; then it is not
known. A list of exactly one is ours whatever its id, because this process has a context there.
"""

import os
from collections.abc import Callable, Sequence

import structlog

_log = structlog.get_logger(__name__)

Listing = Callable[[], Sequence[tuple[int, int | None]]]
"""Tells who computes on a device: each process's id, and the bytes that it holds there, None if that is not told."""


def own_share(processes: Sequence[tuple[int, int | None]], process_id: int) -> int | None:
    """Return the bytes of one process, None if the list does not tell."""
    held = dict(processes)
    if process_id in held:
        return held[process_id]
    return processes[0][1] if len(processes) == 1 else None


class ProcessShare:
    """Asks for this process's share of a device; from the first failure on, it is not known any more."""

    def __init__(self, listing: Listing) -> None:
        self._listing: Listing | None = listing

    @classmethod
    def of(cls, device_uuid: str) -> "ProcessShare":
        """Return the share of a GPU, by its UUID as NVML writes it."""
        return cls(lambda: _processes(device_uuid))

    def held_bytes(self) -> int | None:
        """Return the bytes, None where they are not known."""
        if self._listing is None:
            return None
        try:
            return own_share(self._listing(), os.getpid())
        except Exception as error:  # noqa: BLE001 - a binding that is missing or a driver that refuses: all mean unknown.
            _log.info("device_share_unknown", reason=str(error))
            self._listing = None
            return None

    def __repr__(self) -> str:
        return f"<ProcessShare {'can be asked for' if self._listing else 'unknown'}>"


def _processes(device_uuid: str) -> list[tuple[int, int | None]]:
    import pynvml  # noqa: PLC0415  Only where there is a GPU: nobody else needs the binding.

    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(device_uuid)
        return [(each.pid, each.usedGpuMemory) for each in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    finally:
        pynvml.nvmlShutdown()
