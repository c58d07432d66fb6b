"""NVML as `pynvml` shows it, with its rules: nothing before init, calls are counted, handles die with the library."""

from dataclasses import dataclass

import pynvml

DRIVER_RESERVED_BYTES = 483 * 2**20


@dataclass(frozen=True, slots=True)
class FakeHandle:
    """A handle of one life of the library."""

    uuid: str
    life: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeMemoryInfo:
    """What NVML says about memory, in bytes."""

    total: int
    free: int
    used: int


class FakeNvml:
    """GPUs with memory that tests fill, and the binding's own error and codes."""

    NVMLError: type[Exception] = pynvml.NVMLError
    NVML_ERROR_GPU_IS_LOST: int = pynvml.NVML_ERROR_GPU_IS_LOST
    NVML_ERROR_RESET_REQUIRED: int = pynvml.NVML_ERROR_RESET_REQUIRED
    NVML_ERROR_LIB_RM_VERSION_MISMATCH: int = pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
    NVML_ERROR_NO_PERMISSION: int = pynvml.NVML_ERROR_NO_PERMISSION
    NVML_ERROR_NOT_FOUND: int = pynvml.NVML_ERROR_NOT_FOUND
    NVML_ERROR_DRIVER_NOT_LOADED: int = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    NVML_ERROR_LIBRARY_NOT_FOUND: int = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
    NVML_ERROR_UNKNOWN: int = pynvml.NVML_ERROR_UNKNOWN
    nvmlMemory_v2: int = pynvml.nvmlMemory_v2  # noqa: N815 - NVML's name.

    def __init__(self, *, total_bytes: int = 80 * 10**9, uuids: tuple[str, ...] = ("GPU-0",)) -> None:
        self.total_bytes = total_bytes
        self.used_bytes = dict.fromkeys(uuids, DRIVER_RESERVED_BYTES)
        self.inits = 0
        self.readings = 0
        self._life = 0
        self._failures: list[int] = []
        self._lost: set[str] = set()

    def __repr__(self) -> str:
        return f"<FakeNvml {len(self.used_bytes)} GPUs | {self.inits} inits | {len(self._failures)} failures to come>"

    def fail(self, code: int, times: int = 1) -> None:
        """Let the next calls fail with that code of NVML's."""
        self._failures.extend([code] * times)

    def lose(self, uuid: str) -> None:
        """Let a GPU fall off the bus: it stays lost whatever is called."""
        self._lost.add(uuid)

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name.
        """Begin; calls are counted."""
        self._fail_if_told()
        if self.inits == 0:
            self._life += 1
        self.inits += 1

    def nvmlShutdown(self) -> None:  # noqa: N802 - NVML's name.
        """End one beginning."""
        self._require_init()
        self.inits -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVML's name.
        """Return the number of GPUs, lost ones included."""
        self._require_init()
        self._fail_if_told()
        return len(self.used_bytes)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeHandle:  # noqa: N802 - NVML's name.
        """Return a GPU's handle."""
        self._require_init()
        self._fail_if_told()
        if not 0 <= index < len(self.used_bytes):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self._handle(list(self.used_bytes)[index])

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeHandle:  # noqa: N802 - NVML's name.
        """Return a GPU's handle."""
        self._require_init()
        self._fail_if_told()
        if uuid not in self.used_bytes:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return self._handle(uuid)

    def nvmlDeviceGetUUID(self, handle: FakeHandle) -> str:  # noqa: N802 - NVML's name.
        """Return a GPU's lasting name."""
        self._require_handle(handle)
        return handle.uuid

    def nvmlDeviceGetMigMode(self, handle: FakeHandle) -> list[int]:  # noqa: N802 - NVML's name.
        """Refuse: no GPU here can be divided."""
        self._require_handle(handle)
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def nvmlDeviceGetMemoryInfo(  # noqa: N802 - NVML's name.
        self, handle: FakeHandle, version: int | None = None
    ) -> FakeMemoryInfo:
        """Return total, free and used bytes; this driver knows the older form only."""
        self._require_handle(handle)
        if version is not None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        self._fail_if_told()
        self.readings += 1
        used_bytes = self.used_bytes[handle.uuid]
        return FakeMemoryInfo(total=self.total_bytes, free=self.total_bytes - used_bytes, used=used_bytes)

    def _handle(self, uuid: str) -> FakeHandle:
        if uuid in self._lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return FakeHandle(uuid, self._life)

    def _require_init(self) -> None:
        if not self.inits:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)

    def _require_handle(self, handle: FakeHandle) -> None:
        self._require_init()
        if handle.life != self._life:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        if handle.uuid in self._lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    def _fail_if_told(self) -> None:
        if self._failures:
            raise pynvml.NVMLError(self._failures.pop(0))
