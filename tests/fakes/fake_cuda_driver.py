"""A driver of device memory in host memory: real addresses, real aliasing, and all of the CUDA driver's rules.

What a handle holds is a file in memory, which is mapped to reserved addresses as the GPU's memory is, so that CPU
tensors over them see what a GPU's would. A rule that is broken raises what the driver would; where a GPU would lose its
context, this one is lost too, and every later call says so.

* Memory is full of garbage when it is new, and addresses with nothing behind them read as NaN in every float format.
* Whoever writes to such addresses is found when they are used again.
* Copies run late: when their event is waited for, on the host or by a stream.
"""

import ctypes
import mmap
import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import torch

from tts_service.residency.device_driver import DeviceDriverError, DeviceMemoryError

POISON: Final = 0xFF
POISON_BYTES: Final = 4 << 20
"""One file of this size stands behind all poisoned addresses: gigabytes of them, which nobody has touched, are free."""
GARBAGE: Final = 0xA5
MAP_FIXED: Final = 0x10
"""From Linux's mman.h; Python's mmap does not name it."""

INVALID_VALUE: Final = 1
INVALID_CONTEXT: Final = 201
INVALID_HANDLE: Final = 400
ILLEGAL_ADDRESS: Final = 700
ALREADY_REGISTERED: Final = 712
NOT_REGISTERED: Final = 713
CAPTURE_UNSUPPORTED: Final = 900

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


@dataclass(slots=True, kw_only=True)
class _Memory:
    """What a handle stands for."""

    byte_count: int
    file: int
    is_released: bool = False
    mapped_at: set[int] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class _Mapping:
    """A handle's memory behind addresses."""

    byte_count: int
    handle: int
    has_access: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    """A copy that has not run yet."""

    address: int
    host_address: int
    byte_count: int


class FakeEvent:
    """The end of some copies, or of a thread's work."""

    def __init__(self, driver: "FakeCudaDriver", stream_key: int, end: int) -> None:
        self.stream_key = stream_key
        self._driver = driver
        self._end = end

    def __repr__(self) -> str:
        return f"<FakeEvent after {self._end} on stream {self.stream_key}>"

    @property
    def is_past(self) -> bool:
        """Whether all before it has happened, because somebody waited for that."""
        return self._driver.has_reached(self.stream_key, self._end)

    def wait(self) -> None:
        """Let what is before it happen."""
        self._driver.reach(self.stream_key, self._end)

    def hold_stream(self) -> None:
        """Let what is before it happen: on a CPU, what comes after it in this thread's stream comes at once."""
        self._driver.held_streams += 1
        self._driver.reach(self.stream_key, self._end)


COPIES: Final = 0
"""The stream that copies are on; threads' own streams are known by their threads."""


class FakeCudaDriver:
    """Holds no more than `capacity_bytes` in all, None for no bound; `taken_bytes` of them are somebody else's.

    `calls` are the names of all calls that got as far as the driver's rules.
    """

    def __init__(self, capacity_bytes: int | None = None, *, granularity_bytes: int = mmap.PAGESIZE) -> None:
        self.device = torch.device("cpu")
        self.granularity_bytes = granularity_bytes
        self.capacity_bytes = capacity_bytes
        self.taken_bytes = 0
        self.calls: list[str] = []
        self.registered: dict[int, int] = {}
        self.pageable_copies = 0
        self.held_streams = 0
        self.is_capturing = False
        self.lost: str | None = None
        self._failing: set[int] = set()
        self._failing_from: int | None = None
        self._failing_calls: Counter[str] = Counter()
        self._error: type[DeviceDriverError] = DeviceMemoryError
        self._lock = threading.RLock()
        self._context = threading.local()
        self._reserved: dict[int, int] = {}
        self._memory: dict[int, _Memory] = {}
        self._mappings: dict[int, _Mapping] = {}
        self._handles = 0
        self._copies: list[_Copy] = []
        self._copies_done = 0
        self._work: dict[int, list[tuple[int, int]]] = {}
        self._work_done: Counter[int] = Counter()

    def __repr__(self) -> str:
        lost = f" | lost: {self.lost}" if self.lost else ""
        return f"<FakeCudaDriver {self.physical_bytes} bytes in {len(self._mappings)} mappings{lost}>"

    @property
    def physical_bytes(self) -> int:
        """What is taken of the device's memory."""
        return sum(each.byte_count for each in self._memory.values())

    @property
    def mapped_bytes(self) -> int:
        """What has addresses."""
        return sum(each.byte_count for each in self._mappings.values())

    def fail_at(self, number: int, error: type[DeviceDriverError] = DeviceMemoryError) -> None:
        """Let the call fail that is so many calls away, 1 being the next."""
        self._failing.add(len(self.calls) + number)
        self._error = error

    def fail_from(self, number: int, error: type[DeviceDriverError] = DeviceMemoryError) -> None:
        """Let that call fail, and every later one."""
        self._failing_from = len(self.calls) + number
        self._error = error

    def fail_calls(self, name: str, times: int = 1, error: type[DeviceDriverError] = DeviceMemoryError) -> None:
        """Let the next calls of this name fail."""
        self._failing_calls[name] += times
        self._error = error

    def heal(self) -> None:
        """Let nothing fail any more on purpose."""
        self._failing.clear()
        self._failing_calls.clear()
        self._failing_from = None

    def launch(self, address: int, byte_count: int) -> None:
        """Put work that uses addresses on this thread's stream; it ends when an event after it is waited for."""
        with self._lock:
            self._work.setdefault(threading.get_ident(), []).append((address, byte_count))

    def make_current(self) -> None:
        """Make the context this thread's."""
        if self.is_capturing:
            raise DeviceDriverError("make_current", "this thread captures a graph", CAPTURE_UNSUPPORTED)
        self._context.is_current = True

    def reserve(self, byte_count: int) -> int:
        """Reserve poisoned addresses."""
        with self._call("reserve"):
            self._check_granules("reserve", 0, byte_count)
            address = _pages(0, byte_count)
            _poison(address, byte_count)
            self._reserved[address] = byte_count
            return address

    def free_addresses(self, address: int, byte_count: int) -> None:
        """Give a reservation back."""
        with self._call("free_addresses"):
            if self._reserved.get(address) != byte_count or self._within(address, byte_count):
                raise DeviceDriverError("free_addresses", "not a whole, empty reservation", INVALID_VALUE)
            del self._reserved[address]
            _libc.munmap(address, byte_count)

    def create(self, byte_count: int) -> int:
        """Take memory full of garbage."""
        with self._call("create"):
            self._check_granules("create", 0, byte_count)
            wanted = self.physical_bytes + self.taken_bytes + byte_count
            if self.capacity_bytes is not None and wanted > self.capacity_bytes:
                raise DeviceMemoryError("create", "out of memory", 2)
            file = os.memfd_create("device")
            os.pwrite(file, bytes([GARBAGE]) * byte_count, 0)
            self._handles += 1
            self._memory[self._handles] = _Memory(byte_count=byte_count, file=file)
            return self._handles

    def map(self, address: int, byte_count: int, handle: int) -> None:
        """Map a handle's whole memory to reserved addresses with nothing behind them."""
        with self._call("map"):
            memory = self._known("map", handle)
            self._check_granules("map", address, byte_count)
            if not self._is_reserved(address, byte_count) or self._within(address, byte_count):
                raise DeviceDriverError("map", "not reserved, or mapped already", INVALID_VALUE)
            if byte_count != memory.byte_count:
                raise DeviceDriverError("map", "not the handle's whole memory", INVALID_VALUE)
            if ctypes.string_at(address, byte_count) != bytes([POISON]) * byte_count:
                self._lose("map", "addresses with nothing behind them were written to")
            _pages(address, byte_count, memory.file)
            memory.mapped_at.add(address)
            self._mappings[address] = _Mapping(byte_count=byte_count, handle=handle)

    def set_access(self, address: int, byte_count: int) -> None:
        """Give access to a range that is mapped throughout."""
        with self._call("set_access"):
            for each in self._whole("set_access", address, byte_count):
                self._mappings[each].has_access = True

    def unmap(self, address: int, byte_count: int) -> None:
        """Take whole mappings away that nothing uses any more."""
        with self._call("unmap"):
            inside = self._whole("unmap", address, byte_count)
            if any(_meet(address, byte_count, *each) for each in self._in_use()):
                self._lose("unmap", "something still uses these addresses")
            for each in inside:
                mapping = self._mappings.pop(each)
                _poison(each, mapping.byte_count)
                self._memory[mapping.handle].mapped_at.remove(each)
                self._drop(mapping.handle)

    def release(self, handle: int) -> None:
        """Let go of a handle."""
        with self._call("release"):
            memory = self._known("release", handle)
            memory.is_released = True
            os.close(memory.file)
            self._drop(handle)

    def register(self, host_address: int, byte_count: int) -> None:
        """Lock host memory that is not locked yet."""
        with self._call("register"):
            if any(_meet(host_address, byte_count, *each) for each in self.registered.items()):
                raise DeviceDriverError("register", "already locked", ALREADY_REGISTERED)
            self.registered[host_address] = byte_count

    def unregister(self, host_address: int) -> None:
        """Unlock host memory from which nothing is copied."""
        with self._call("unregister"):
            if host_address not in self.registered:
                raise DeviceDriverError("unregister", "not locked", NOT_REGISTERED)
            byte_count = self.registered.pop(host_address)
            pending = self._copies[self._copies_done :]
            if any(_meet(host_address, byte_count, each.host_address, each.byte_count) for each in pending):
                self._lose("unregister", "something is still copied from here")

    def copy(self, address: int, host_address: int, byte_count: int) -> None:
        """Begin a copy to addresses with access; from memory that is not locked, it is done at once."""
        with self._call("copy"):
            if not self._has_access(address, byte_count):
                self._lose("copy", "no access there")
            self._copies.append(_Copy(address=address, host_address=host_address, byte_count=byte_count))
            locked = self.registered.items()
            if not any(at <= host_address and host_address + byte_count <= at + count for at, count in locked):
                self.pageable_copies += 1
                self.reach(COPIES, len(self._copies))

    def copied(self) -> FakeEvent:
        """Return the end of all copies so far."""
        with self._call("copied"):
            return FakeEvent(self, COPIES, len(self._copies))

    def used(self) -> FakeEvent:
        """Return the end of this thread's work so far; needs no context of its own, as torch's events."""
        with self._lock:
            thread = threading.get_ident()
            return FakeEvent(self, thread, len(self._work.get(thread, ())))

    def reach(self, stream_key: int, end: int) -> None:
        """Let everything happen that is on a stream before this."""
        with self._lock:
            if self.lost is not None:
                raise DeviceDriverError("wait", self.lost, ILLEGAL_ADDRESS)
            if stream_key != COPIES:
                self._work_done[stream_key] = max(self._work_done[stream_key], end)
                return
            while self._copies_done < end:
                each = self._copies[self._copies_done]
                ctypes.memmove(each.address, each.host_address, each.byte_count)
                self._copies_done += 1

    def has_reached(self, stream_key: int, end: int) -> bool:
        """Tell whether all that is on a stream before this has happened."""
        with self._lock:
            if self.lost is not None:
                raise DeviceDriverError("query", self.lost, ILLEGAL_ADDRESS)
            return end <= (self._copies_done if stream_key == COPIES else self._work_done[stream_key])

    def _call(self, name: str) -> threading.RLock:
        """Check what holds for every call, and return the lock to make it under."""
        with self._lock:
            self.calls.append(name)
            number = len(self.calls)
            if self.lost is not None:
                raise DeviceDriverError(name, self.lost, ILLEGAL_ADDRESS)
            if self.is_capturing:
                raise DeviceDriverError(name, "a graph is being captured", CAPTURE_UNSUPPORTED)
            if not getattr(self._context, "is_current", False):
                raise DeviceDriverError(name, "no context in this thread", INVALID_CONTEXT)
            named = self._failing_calls[name] > 0
            self._failing_calls[name] -= named
            later = self._failing_from is not None and number >= self._failing_from
            if named or later or number in self._failing:
                raise self._error(name, "failed on purpose")
        return self._lock

    def _lose(self, call: str, reason: str) -> None:
        self.lost = reason
        raise DeviceDriverError(call, reason, ILLEGAL_ADDRESS)

    def _check_granules(self, call: str, address: int, byte_count: int) -> None:
        if not byte_count or address % self.granularity_bytes or byte_count % self.granularity_bytes:
            raise DeviceDriverError(call, "not a multiple of the granularity", INVALID_VALUE)

    def _known(self, call: str, handle: int) -> _Memory:
        memory = self._memory.get(handle)
        if memory is None or memory.is_released:
            raise DeviceDriverError(call, "no such handle", INVALID_HANDLE)
        return memory

    def _drop(self, handle: int) -> None:
        memory = self._memory[handle]
        if memory.is_released and not memory.mapped_at:
            del self._memory[handle]

    def _is_reserved(self, address: int, byte_count: int) -> bool:
        return any(at <= address and address + byte_count <= at + size for at, size in self._reserved.items())

    def _within(self, address: int, byte_count: int) -> list[int]:
        """Return the mappings that touch a range."""
        return [at for at, each in self._mappings.items() if _meet(address, byte_count, at, each.byte_count)]

    def _whole(self, call: str, address: int, byte_count: int) -> list[int]:
        """Return the mappings that a range consists of; it may not cut one, nor have a hole."""
        inside = self._within(address, byte_count)
        cut = any(each < address or each + self._mappings[each].byte_count > address + byte_count for each in inside)
        if cut or sum(self._mappings[each].byte_count for each in inside) != byte_count:
            raise DeviceDriverError(call, "not whole mappings", INVALID_VALUE)
        return inside

    def _has_access(self, address: int, byte_count: int) -> bool:
        return any(
            at <= address and address + byte_count <= at + each.byte_count and each.has_access
            for at, each in self._mappings.items()
        )

    def _in_use(self) -> list[tuple[int, int]]:
        work = [each for thread, found in self._work.items() for each in found[self._work_done[thread] :]]
        return work + [(each.address, each.byte_count) for each in self._copies[self._copies_done :]]


def _meet(address: int, byte_count: int, other: int, other_bytes: int) -> bool:
    return address < other + other_bytes and other < address + byte_count


def _poison(address: int, byte_count: int) -> None:
    """Have addresses read as poison; what is written there stays there, and takes memory only then."""
    for offset in range(0, byte_count, POISON_BYTES):
        _pages(address + offset, min(POISON_BYTES, byte_count - offset), _poison_file(), sharing=mmap.MAP_PRIVATE)


@cache
def _poison_file() -> int:
    file = os.memfd_create("poison")
    os.pwrite(file, bytes([POISON]) * POISON_BYTES, 0)
    return file


def _pages(address: int, byte_count: int, file: int | None = None, *, sharing: int = mmap.MAP_SHARED) -> int:
    """Map a file, or empty memory, at an address, or anywhere if that is 0."""
    flags = (MAP_FIXED if address else 0) | (mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS if file is None else sharing)
    access = mmap.PROT_READ | mmap.PROT_WRITE
    mapped = _libc.mmap(address, byte_count, access, flags, -1 if file is None else file, 0)
    if mapped == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(mapped)
