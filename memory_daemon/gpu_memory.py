"""Read GPUs' memory through NVML: what is free, who uses it, and what has happened to the device.

A reading that failed says what kind of failure it is, because each wants its own patience. After a failure NVML is let
go and begun anew with the next reading, because handles do not survive a driver that came back. Devices are named by
UUID: numbers change with `CUDA_VISIBLE_DEVICES` and over a restart. A GPU that is divided (MIG) is read as its
instances: they are what processes run out of. The list of processes takes milliseconds and holds a lock that every
process needs, so that it is read only to explain; decisions never depend on it.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from memory_daemon.types import DeviceId, Fault

GPUS_MAXIMUM = 64
PROCESSES_MAXIMUM = 8
"""The largest ones explain the rest."""
NAMELESS = DeviceId("unknown")


class GpuUnreadableError(Exception):
    """NVML failed in one of the ways that are told apart."""

    def __init__(self, reason: str, *, fault: Fault = Fault.OTHER) -> None:
        super().__init__(reason)
        self.fault = fault


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUse:
    """A process on a device; `used_bytes` None where the driver does not tell, as in many containers."""

    process: int
    used_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuEvent:
    """Something that happened to a device: `kind` is xid, recovery or unavailable, `number` the driver's own."""

    device: DeviceId
    kind: str
    number: int


class Nvml(Protocol):
    """What is used of the module `pynvml`; every call may raise its `NVMLError`, whose `value` is one of the codes."""

    NVMLError: type[Exception]
    NVML_ERROR_NO_PERMISSION: int
    NVML_ERROR_NOT_FOUND: int
    NVML_ERROR_DRIVER_NOT_LOADED: int
    NVML_ERROR_LIBRARY_NOT_FOUND: int
    NVML_ERROR_GPU_IS_LOST: int
    NVML_ERROR_RESET_REQUIRED: int
    NVML_ERROR_LIB_RM_VERSION_MISMATCH: int
    NVML_ERROR_UNKNOWN: int
    nvmlMemory_v2: int  # noqa: N815 - NVML's name.
    nvmlEventTypeXidCriticalError: int  # noqa: N815 - NVML's name.
    nvmlEventTypeGpuUnavailableError: int  # noqa: N815 - NVML's name.
    nvmlEventTypeGpuRecoveryAction: int  # noqa: N815 - NVML's name.

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name.
        """Begin; calls are counted."""

    def nvmlShutdown(self) -> None:  # noqa: N802 - NVML's name.
        """End one beginning."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVML's name.
        """Return the number of GPUs."""

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802 - NVML's name.
        """Return a GPU's handle."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:  # noqa: N802 - NVML's name.
        """Return the handle of a GPU or of a MIG instance."""

    def nvmlDeviceGetUUID(self, handle: Any) -> str:  # noqa: N802 - NVML's name.
        """Return a device's lasting name."""

    def nvmlDeviceGetMemoryInfo(self, handle: Any, version: int | None = None) -> Any:  # noqa: N802 - NVML's name.
        """Return an object with `total` and `free` in bytes."""

    def nvmlDeviceGetMigMode(self, handle: Any) -> Any:  # noqa: N802 - NVML's name.
        """Return whether a GPU is divided now, and after the next reset."""

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any) -> int:  # noqa: N802 - NVML's name.
        """Return how many instances there may be."""

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: int) -> Any:  # noqa: N802 - NVML's name.
        """Return an instance's handle."""

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> list[Any]:  # noqa: N802 - NVML's name.
        """Return objects with `pid` and `usedGpuMemory`."""

    def nvmlDeviceGetSupportedEventTypes(self, handle: Any) -> int:  # noqa: N802 - NVML's name.
        """Return the kinds of events that a GPU tells, as bits."""

    def nvmlEventSetCreate(self) -> Any:  # noqa: N802 - NVML's name.
        """Return a set that events are collected in."""

    def nvmlDeviceRegisterEvents(self, handle: Any, types: int, events: Any) -> None:  # noqa: N802 - NVML's name.
        """Collect a GPU's events of some kinds."""

    def nvmlEventSetWait_v2(self, events: Any, timeout_ms: int) -> Any:  # noqa: N802 - NVML's name.
        """Return the next event; raises NVMLError when there is none."""


class GpuMemory:
    """Reads GPUs; loads and begins NVML when it is first needed."""

    def __init__(self, *, load: Callable[[], Nvml]) -> None:
        self._load = load
        self._nvml: Nvml | None = None
        self._begun = False
        self._handles: dict[DeviceId, Any] = {}
        self._version: int | None = None
        self._events: Any = None
        self._untold: tuple[GpuEvent, ...] = ()

    def __repr__(self) -> str:
        return f"<GpuMemory {'begun' if self._begun else 'not begun'} | {len(self._handles)} handles>"

    def devices(self) -> tuple[DeviceId, ...]:
        """Return the GPUs, or instances of them, that there are; raises GpuUnreadableError."""
        with self._begin() as nvml:
            count = min(nvml.nvmlDeviceGetCount(), GPUS_MAXIMUM)
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            found = [one for handle in handles for one in _instances(nvml, handle) or [handle]]
            return tuple(DeviceId(nvml.nvmlDeviceGetUUID(handle)) for handle in found)

    def memory_bytes(self, device: DeviceId) -> tuple[int, int]:
        """Return total and free bytes; raises GpuUnreadableError, after which everything begins anew."""
        with self._begin() as nvml:
            info = self._info(nvml, self._handle(nvml, device))
            return int(info.total), int(info.free)

    def processes(self, device: DeviceId) -> tuple[ProcessUse, ...]:
        """Return the largest processes on a device, largest first; raises GpuUnreadableError. Slow: see above."""
        with self._begin() as nvml:
            listed = nvml.nvmlDeviceGetComputeRunningProcesses(self._handle(nvml, device))
            found = [ProcessUse(process=one.pid, used_bytes=one.usedGpuMemory) for one in listed]
            return tuple(sorted(found, key=lambda one: (-(one.used_bytes or 0), one.process))[:PROCESSES_MAXIMUM])

    def events(self) -> tuple[GpuEvent, ...]:
        """Return what has happened since the last call, without waiting; raises GpuUnreadableError."""
        with self._begin() as nvml:
            if self._events is None:
                self._events = _collected(nvml)
            told, self._untold = (*self._untold, *_waiting(nvml, self._events)), ()
            return told

    def close(self) -> None:
        """Let NVML go; the next reading begins it again."""
        self._handles.clear()
        self._version = self._events = None
        if self._begun and self._nvml is not None:
            self._begun = False
            # A library that has just failed may fail here too; there is nothing left to release then.
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()

    def _handle(self, nvml: Nvml, device: DeviceId) -> Any:
        if device not in self._handles:
            self._handles[device] = nvml.nvmlDeviceGetHandleByUUID(device)
        return self._handles[device]

    def _info(self, nvml: Nvml, handle: Any) -> Any:
        """Read the newer form, which tells the driver's own share apart; an older driver has only the older one."""
        if self._version is None:
            self._version = nvml.nvmlMemory_v2
            with contextlib.suppress(nvml.NVMLError):
                return nvml.nvmlDeviceGetMemoryInfo(handle, self._version)
            self._version = 0
        return nvml.nvmlDeviceGetMemoryInfo(handle, self._version or None)

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
            if self._events is not None:
                # What happened to a device is often why it failed, and is lost with the library.
                self._untold = (*self._untold, *_waiting(nvml, self._events))[-GPUS_MAXIMUM:]
            self.close()
            raise _unreadable(nvml, error) from error


def _instances(nvml: Nvml, handle: Any) -> list[Any]:
    """Return a divided GPU's instances; none for one that is not divided, or cannot be."""
    try:
        if not nvml.nvmlDeviceGetMigMode(handle)[0]:
            return []
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except nvml.NVMLError:
        return []
    return [one for index in range(count) for one in _instance(nvml, handle, index)]


def _instance(nvml: Nvml, handle: Any, index: int) -> list[Any]:
    """Return the instance in a place, if there is one."""
    try:
        return [nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)]
    except nvml.NVMLError as error:
        if _code(error) == nvml.NVML_ERROR_NOT_FOUND:
            return []
        raise


def _kinds(nvml: Nvml) -> dict[int, str]:
    return {
        nvml.nvmlEventTypeXidCriticalError: "xid",
        nvml.nvmlEventTypeGpuUnavailableError: "unavailable",
        nvml.nvmlEventTypeGpuRecoveryAction: "recovery",
    }


def _collected(nvml: Nvml) -> Any:
    """Return a set that collects what every GPU can tell; where a GPU or a driver tells nothing, nothing comes."""
    events = nvml.nvmlEventSetCreate()
    for index in range(min(nvml.nvmlDeviceGetCount(), GPUS_MAXIMUM)):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        with contextlib.suppress(nvml.NVMLError):
            told = nvml.nvmlDeviceGetSupportedEventTypes(handle) & sum(_kinds(nvml))
            nvml.nvmlDeviceRegisterEvents(handle, told, events)
    return events


def _waiting(nvml: Nvml, events: Any) -> tuple[GpuEvent, ...]:
    """Return the events that wait in a set, without waiting for more."""
    found = iter(lambda: _next_event(nvml, events), None)
    return tuple(event for event, _ in zip(found, range(GPUS_MAXIMUM), strict=False))


def _next_event(nvml: Nvml, events: Any) -> GpuEvent | None:
    try:
        data = nvml.nvmlEventSetWait_v2(events, 0)
    except nvml.NVMLError:
        # No event is told as a timeout; a real failure will show itself in the next reading.
        return None
    device = NAMELESS
    # A GPU that fell off the bus tells its last event, but not its name any more.
    with contextlib.suppress(nvml.NVMLError):
        device = DeviceId(nvml.nvmlDeviceGetUUID(data.device))
    return GpuEvent(device=device, kind=_kinds(nvml).get(data.eventType, "other"), number=int(data.eventData))


def _code(error: Exception) -> int | None:
    return getattr(error, "value", None)


def _unreadable(nvml: Nvml, error: Exception) -> GpuUnreadableError:
    fault, advice = _faults(nvml).get(_code(error), (Fault.OTHER, ""))
    return GpuUnreadableError(f"{error}{advice}", fault=fault)


def _faults(nvml: Nvml) -> dict[int | None, tuple[Fault, str]]:
    """Return what each code means and what mends it; a container that lost its devices says UNKNOWN or NOT_FOUND."""
    gone = "; was the device taken from this container?"
    return {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: (Fault.NO_DRIVER, ""),
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: (Fault.NO_DRIVER, ""),
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
            Fault.DRIVER_MISMATCH,
            "; the driver was updated: restart the machine",
        ),
        nvml.NVML_ERROR_GPU_IS_LOST: (Fault.GPU_LOST, ""),
        nvml.NVML_ERROR_RESET_REQUIRED: (Fault.GPU_LOST, ""),
        nvml.NVML_ERROR_NO_PERMISSION: (Fault.NO_PERMISSION, "; may this user open the device?"),
        nvml.NVML_ERROR_NOT_FOUND: (Fault.DEVICE_GONE, gone),
        nvml.NVML_ERROR_UNKNOWN: (Fault.DEVICE_GONE, gone),
    }
