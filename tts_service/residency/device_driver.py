"""What arenas need of a device's driver, and what can go wrong there.

One file makes these calls on a GPU (`cuda_driver`), and a fake that enforces the same rules makes them in host memory,
so that the same arenas run on both. The rules:

* Every thread makes the context current before its first call.
* Nobody calls while a graph is captured (see `capture_gate`).
* A mapping is taken away as a whole; what was mapped has no access before that was set.
* Memory goes when it is mapped nowhere and its handle was released.
* Work that uses a range, copies included, ends before its memory goes.
"""

from typing import Protocol

import torch


class DeviceDriverError(Exception):
    """A call failed. Unless it is out of memory, the context may be lost for good."""

    def __init__(self, call: str, reason: str, code: int = 0) -> None:
        super().__init__(f"{call}: {reason}" + (f" ({code})" if code else ""))
        self.call = call
        self.reason = reason
        self.code = code


class DeviceMemoryError(DeviceDriverError, MemoryError):
    """The device has no memory left; the context is as it was, and the call may be made again later."""


class DeviceEvent(Protocol):
    """A moment on one of the device's streams."""

    @property
    def stream_key(self) -> int:
        """The stream that it is on; of two events there, the later one is enough to wait for."""
        ...

    @property
    def is_past(self) -> bool:
        """Whether it has come. Raises DeviceDriverError for what went wrong before it."""
        ...

    def wait(self) -> None:
        """Let this thread wait for it. Raises DeviceDriverError for what went wrong before it."""
        ...

    def hold_stream(self) -> None:
        """Let this thread's current stream wait for it, not the thread."""
        ...


class DeviceDriver(Protocol):
    """Device memory by addresses. Calls raise DeviceMemoryError or DeviceDriverError."""

    @property
    def device(self) -> torch.device:
        """Where tensors over its addresses are."""
        ...

    @property
    def granularity_bytes(self) -> int:
        """What sizes and addresses are multiples of."""
        ...

    def make_current(self) -> None:
        """Make the device's context this thread's; refuses while this thread captures a graph."""
        ...

    def reserve(self, byte_count: int) -> int:
        """Return the first of so many addresses with nothing behind them."""
        ...

    def free_addresses(self, address: int, byte_count: int) -> None:
        """Give a whole reservation back, with nothing behind it."""
        ...

    def create(self, byte_count: int) -> int:
        """Take memory and return its handle; it has no address yet, and anything may be in it."""
        ...

    def map(self, address: int, byte_count: int, handle: int) -> None:
        """Put a handle's whole memory behind reserved addresses."""
        ...

    def set_access(self, address: int, byte_count: int) -> None:
        """Let the device read and write a range that is mapped throughout."""
        ...

    def unmap(self, address: int, byte_count: int) -> None:
        """Take away a whole mapping; the addresses stay reserved."""
        ...

    def release(self, handle: int) -> None:
        """Let go of a handle; mappings keep its memory."""
        ...

    def register(self, host_address: int, byte_count: int) -> None:
        """Lock host memory, so that it is copied at the full rate."""
        ...

    def unregister(self, host_address: int) -> None:
        """Unlock the host memory that was locked from this address on."""
        ...

    def copy(self, address: int, host_address: int, byte_count: int) -> None:
        """Begin to copy host memory to the device on the driver's own stream."""
        ...

    def copied(self) -> DeviceEvent:
        """Return the end of all copies so far."""
        ...

    def used(self) -> DeviceEvent:
        """Return the end of what is on this thread's current stream so far."""
        ...
