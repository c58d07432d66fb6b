"""The CUDA driver, as far as arenas need it. No other file imports it.

NVIDIA's own bindings, which torch brings with it, make the calls. Events are torch's. The context is torch's too, the
primary one: a second context would not see torch's memory.
"""

import importlib
from typing import Any, Final, Self

import structlog
import torch

from tts_service.residency.device_driver import DeviceDriverError, DeviceMemoryError

_log = structlog.get_logger(__name__)

SUCCESS: Final = 0
OUT_OF_MEMORY: Final = 2
"""CUDA_SUCCESS and CUDA_ERROR_OUT_OF_MEMORY of cuda.h."""


CONTEXT_LIMITS: Final = {
    "CU_LIMIT_STACK_SIZE": 256,
    "CU_LIMIT_MALLOC_HEAP_SIZE": 1 << 20,
    "CU_LIMIT_PRINTF_FIFO_SIZE": 1 << 16,
}
"""In bytes; the stack is each thread's. The driver's own are 1 KiB, 8 MiB and 1 MiB. It reserves a stack for every
thread that can be resident: 264 MiB on an H100 at 1 KiB. For a kernel that needs more it raises the limit, for good."""


class NoVirtualMemoryError(Exception):
    """The device or its driver cannot map memory to addresses; the message says why."""


class CudaEvent:
    """A moment on one of torch's streams."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self.stream_key = int(stream.cuda_stream)
        self._device = stream.device
        # A blocking event lets the processor do something else: what waits for it is one thread among those that speak.
        self._event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # torch's.
        try:
            self._event.record(stream)
        except RuntimeError as error:
            raise DeviceDriverError("cudaEventRecord", str(error)) from error

    def __repr__(self) -> str:
        return f"<CudaEvent on stream {self.stream_key:#x}>"

    @property
    def is_past(self) -> bool:
        """Whether it has come."""
        try:
            return bool(self._event.query())  # type: ignore[no-untyped-call]  # Torch's has no types.
        except RuntimeError as error:
            raise DeviceDriverError("cudaEventQuery", str(error)) from error

    def wait(self) -> None:
        """Let this thread wait."""
        try:
            self._event.synchronize()
        except RuntimeError as error:
            raise DeviceDriverError("cudaEventSynchronize", str(error)) from error

    def hold_stream(self) -> None:
        """Let this thread's current stream wait."""
        try:
            torch.cuda.current_stream(self._device).wait_event(self._event)
        except RuntimeError as error:
            raise DeviceDriverError("cudaStreamWaitEvent", str(error)) from error


class CudaDriver:
    """One GPU, whose context torch has made. `cuda` are the bindings, `stream` is for copies. See `DeviceDriver`."""

    def __init__(self, device: torch.device, cuda: Any, stream: torch.cuda.Stream) -> None:
        self.device = device
        self._cuda = cuda
        self._stream = stream
        self._call("cuInit", 0)
        ordinal = self._call("cuDeviceGet", device.index)
        attribute = cuda.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED
        if not self._call("cuDeviceGetAttribute", attribute, ordinal):
            raise NoVirtualMemoryError(f"{torch.cuda.get_device_name(device)} does not map memory to addresses")
        self._context = self._call("cuDevicePrimaryCtxRetain", ordinal)
        self._properties = _properties(cuda, device.index)
        self._access = _access(cuda, device.index)
        minimum = cuda.CUmemAllocationGranularity_flags.CU_MEM_ALLOC_GRANULARITY_MINIMUM
        self.granularity_bytes = int(self._call("cuMemGetAllocationGranularity", self._properties, minimum))

    @classmethod
    def open(cls, device: torch.device) -> Self:
        """Return the driver of a device, after one granule was mapped and unmapped. Raises NoVirtualMemoryError."""
        try:
            cuda = importlib.import_module("cuda.bindings.driver")
        except ImportError as error:
            raise NoVirtualMemoryError(f"CUDA's bindings for Python cannot be imported: {error}") from error
        # A first use, with which torch makes the context.
        here = torch.device("cuda", torch.zeros(1, device=device).get_device())
        try:
            driver = cls(here, cuda, new_stream(here, cuda=cuda))
            driver.make_current()
            driver.rehearse()
        except DeviceMemoryError:
            raise
        except DeviceDriverError as error:
            raise NoVirtualMemoryError(f"mapping memory fails: {error}") from error
        return driver

    def __repr__(self) -> str:
        return f"<CudaDriver {self.device} | {self.granularity_bytes >> 10} KiB granules>"

    def rehearse(self) -> None:
        """Map one granule and take it away again: on some systems the attribute promises more than works."""
        size = self.granularity_bytes
        address, handle = self.reserve(size), self.create(size)
        self.map(address, size, handle)
        self.set_access(address, size)
        self.release(handle)
        self.unmap(address, size)
        self.free_addresses(address, size)

    def make_current(self) -> None:
        """Make torch's context this thread's."""
        if torch.cuda.is_current_stream_capturing():
            raise DeviceDriverError("cuCtxSetCurrent", "this thread captures a graph")
        self._call("cuCtxSetCurrent", self._context)

    def reserve(self, byte_count: int) -> int:
        """Reserve addresses."""
        return int(self._call("cuMemAddressReserve", byte_count, self.granularity_bytes, 0, 0))

    def free_addresses(self, address: int, byte_count: int) -> None:
        """Give addresses back."""
        self._call("cuMemAddressFree", address, byte_count)

    def create(self, byte_count: int) -> int:
        """Take memory."""
        return int(self._call("cuMemCreate", byte_count, self._properties, 0))

    def map(self, address: int, byte_count: int, handle: int) -> None:
        """Map at the handle's beginning: mapping from inside a handle has been refused by drivers."""
        self._call("cuMemMap", address, byte_count, 0, handle, 0)

    def set_access(self, address: int, byte_count: int) -> None:
        """Let this device read and write."""
        self._call("cuMemSetAccess", address, byte_count, [self._access], 1)

    def unmap(self, address: int, byte_count: int) -> None:
        """Take a mapping away."""
        self._call("cuMemUnmap", address, byte_count)

    def release(self, handle: int) -> None:
        """Let go of a handle."""
        self._call("cuMemRelease", handle)

    def register(self, host_address: int, byte_count: int) -> None:
        """Lock host memory, for all contexts."""
        self._call("cuMemHostRegister", host_address, byte_count, self._cuda.CU_MEMHOSTREGISTER_PORTABLE)

    def unregister(self, host_address: int) -> None:
        """Unlock host memory; waits for what the device does."""
        self._call("cuMemHostUnregister", host_address)

    def copy(self, address: int, host_address: int, byte_count: int) -> None:
        """Begin to copy on a stream of its own."""
        self._call("cuMemcpyHtoDAsync", address, host_address, byte_count, self._stream.cuda_stream)

    def copied(self) -> CudaEvent:
        """Return an event on the stream of the copies."""
        return CudaEvent(self._stream)

    def used(self) -> CudaEvent:
        """Return an event on this thread's current stream."""
        return CudaEvent(torch.cuda.current_stream(self.device))

    def _call(self, name: str, *arguments: object) -> Any:
        return _called(self._cuda, name, *arguments)


def lower_context_limits(index: int, *, cuda: Any = None) -> dict[str, int]:
    """Make the context of the GPU with this number a small one, and return its limits: {} where that cannot be done.

    Before torch makes it, that is before the first tensor there: memory that the context has taken is not given back.
    It is kept for as long as the process lives.
    """
    try:
        cuda = cuda or importlib.import_module("cuda.bindings.driver")
        _enter_context(cuda, index)
        for name, byte_count in CONTEXT_LIMITS.items():
            _called(cuda, "cuCtxSetLimit", getattr(cuda.CUlimit, name), byte_count)
        return context_limits(cuda=cuda)
    except (ImportError, DeviceDriverError) as error:
        _log.warning("context_limits_not_lowered", reason=str(error))
        return {}


def new_stream(device: torch.device, *, priority: int = 0, cuda: Any = None) -> torch.cuda.Stream:
    """Return a stream of its own, for as long as the process lives; of `priority` the lower goes first.

    Torch's streams are from a pool, all of which is made with the first of them: 128 streams, of which each takes
    memory of the device. Where the bindings are missing it is one of those all the same.
    """
    try:
        cuda = cuda or importlib.import_module("cuda.bindings.driver")
    except ImportError:
        return torch.cuda.Stream(device, priority=priority)  # type: ignore[no-untyped-call]  # torch's.
    _enter_context(cuda, device.index or 0)
    # As torch's own: not held up by what runs on the default stream.
    handle = _called(cuda, "cuStreamCreateWithPriority", int(cuda.CUstream_flags.CU_STREAM_NON_BLOCKING), priority)
    return torch.cuda.ExternalStream(int(handle), device=device)  # type: ignore[no-untyped-call]  # torch's.


def _enter_context(cuda: Any, index: int) -> None:
    """Make the primary context, which is torch's too, this thread's."""
    _called(cuda, "cuInit", 0)
    _called(cuda, "cuCtxSetCurrent", _called(cuda, "cuDevicePrimaryCtxRetain", _called(cuda, "cuDeviceGet", index)))


def context_limits(*, cuda: Any = None) -> dict[str, int]:
    """Return the limits of this thread's context in bytes, by the driver's names."""
    cuda = cuda or importlib.import_module("cuda.bindings.driver")
    return {name: int(_called(cuda, "cuCtxGetLimit", getattr(cuda.CUlimit, name))) for name in CONTEXT_LIMITS}


def _called(cuda: Any, name: str, *arguments: object) -> Any:
    status, *values = getattr(cuda, name)(*arguments)
    code = int(status)
    if code == OUT_OF_MEMORY:
        raise DeviceMemoryError(name, "out of memory", code)
    if code != SUCCESS:
        raise DeviceDriverError(name, getattr(status, "name", "unknown error"), code)
    return values[0] if values else None


def _properties(cuda: Any, index: int) -> Any:
    properties = cuda.CUmemAllocationProp()
    properties.type = cuda.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    properties.location.type = cuda.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
    properties.location.id = index
    return properties


def _access(cuda: Any, index: int) -> Any:
    access = cuda.CUmemAccessDesc()
    access.location.type = cuda.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
    access.location.id = index
    access.flags = cuda.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE
    return access
