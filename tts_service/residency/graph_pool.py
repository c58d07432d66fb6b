"""Torch's memory for captured work, in addresses that we look after.

Torch allows a pool to have an allocator of its own, which is two functions by their addresses; it asks for segments of
2 MiB and more, and never gives one back while the pool lives. Here they are Python's, over a `GrowingRange`: what torch
believes to have for good can be taken away while no graph runs, and be put back before the next one does.

Torch calls them with its allocator's lock held. Where another thread frees a tensor at that moment, with Python's lock
held, both would wait for ever. So the allocator is told to let go of its lock before it gets memory.
"""

import ctypes
import os
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import structlog
import torch

from tts_service.residency.device_driver import DeviceDriverError
from tts_service.residency.growing_range import GrowingRange

ALLOCATE: Final = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)
FREE: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)
"""`void* (size_t size, int device, cudaStream_t)`, and `void (void*, size_t, int, cudaStream_t)`: see
torch/csrc/cuda/CUDAPluggableAllocator.h."""

_log = structlog.get_logger(__name__)


class Segments:
    """What torch asks for and gives back, in a range. Both are called where a capture has its turn at the driver."""

    def __init__(self, memory: GrowingRange) -> None:
        self._memory = memory
        self._spare: dict[int, list[int]] = defaultdict(list)
        self.allocate = ALLOCATE(self._allocate)
        self.free = FREE(self._free)

    def __repr__(self) -> str:
        return f"<Segments in {self._memory!r}>"

    @property
    def addresses(self) -> tuple[int, int]:
        """The addresses of both functions, which are valid as long as this object."""
        return tuple(ctypes.cast(each, ctypes.c_void_p).value or 0 for each in (self.allocate, self.free))  # type: ignore[return-value]  # Two.

    def _allocate(self, byte_count: int, _device: int, _stream: int | None) -> int | None:
        """Return an address, or nothing, which torch takes for out of memory. Nothing may be raised into torch."""
        if self._spare[byte_count]:
            return self._spare[byte_count].pop()
        try:
            return self._memory.take(byte_count)
        except (DeviceDriverError, ValueError) as error:
            _log.warning("graph_memory_not_grown", bytes=byte_count, reason=str(error))
            return None

    def _free(self, address: int, byte_count: int, _device: int, _stream: int | None) -> None:
        self._spare[byte_count].append(address)


def allocator_settings(environment: Mapping[str, str]) -> str:
    """Return the allocator's settings: what the environment says, which saying anything may undo, and ours."""
    said = environment.get("PYTORCH_CUDA_ALLOC_CONF") or environment.get("PYTORCH_ALLOC_CONF")
    return ",".join(filter(None, (said, "release_lock_on_cudamalloc:True")))


def pool_over(memory: GrowingRange) -> torch.cuda.MemPool:
    """Return a pool of torch's whose segments are in a range.

    It lives as long as the process: torch may call its allocator until the very end, when Python's objects are gone.
    """
    torch._C._accelerator_setAllocatorSettings(allocator_settings(os.environ))  # noqa: SLF001 - there is no public way.
    segments = Segments(memory)
    allocator = torch._C._cuda_customAllocator(*segments.addresses)  # noqa: SLF001 - the public class wants a library.
    pool = torch.cuda.MemPool(allocator)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object((segments, allocator, pool)))
    return pool
