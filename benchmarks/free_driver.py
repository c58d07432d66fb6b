"""A driver for which memory costs nothing: what moves take over it is ours."""

import os
import time
from collections import Counter
from typing import Final

import torch

GRANULE_BYTES: Final = 2 << 20
BUS_BYTES_PER_SECOND: Final = 54e9
"""Of pinned copies to an H100."""


class FreeDriver:
    """Memory that costs nothing. `calls` counts by name what a GPU's driver would be asked."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.granularity_bytes = GRANULE_BYTES
        self.calls: Counter[str] = Counter()
        self._next_address = 1 << 40
        self._copied_seconds = 0.0
        self._nowhere = os.open(os.devnull, os.O_WRONLY)

    def __repr__(self) -> str:
        return f"<FreeDriver {self.calls.total()} calls>"

    def make_current(self) -> None:
        """Do nothing, as often as the driver would."""
        self._called("make_current")

    def reserve(self, byte_count: int) -> int:
        """Return addresses that nobody reads."""
        self._next_address += byte_count
        return self._next_address - byte_count

    def free_addresses(self, address: int, byte_count: int) -> None:
        """Do nothing."""
        del address, byte_count

    def create(self, byte_count: int) -> int:
        """Return a handle."""
        self._called("create")
        return byte_count

    def map(self, address: int, byte_count: int, handle: int) -> None:
        """Do nothing."""
        del address, byte_count, handle
        self._called("map")

    def set_access(self, address: int, byte_count: int) -> None:
        """Do nothing."""
        del address, byte_count
        self._called("set_access")

    def unmap(self, address: int, byte_count: int) -> None:
        """Do nothing."""
        del address, byte_count
        self._called("unmap")

    def release(self, handle: int) -> None:
        """Do nothing."""
        del handle
        self._called("release")

    def register(self, host_address: int, byte_count: int) -> None:
        """Do nothing."""
        del host_address, byte_count

    def unregister(self, host_address: int) -> None:
        """Do nothing."""
        del host_address

    def copy(self, address: int, host_address: int, byte_count: int) -> None:
        """Let the bus be busy for as long as the bytes take."""
        del address, host_address
        self._called("copy")
        self._copied_seconds = max(time.monotonic(), self._copied_seconds) + byte_count / BUS_BYTES_PER_SECOND

    def copied(self) -> "FreeEvent":
        """Return when the bus is free."""
        self._called("event")
        return FreeEvent(self, self._copied_seconds)

    def used(self) -> "FreeEvent":
        """Return now."""
        return FreeEvent(self, 0.0)

    def waited(self) -> None:
        """Count a wait for an event."""
        self._called("wait")

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        os.write(self._nowhere, b"-")  # As short a call as there is that gives Python's lock away.


class FreeEvent:
    """A moment of the clock."""

    stream_key = 0

    def __init__(self, driver: FreeDriver, end_seconds: float) -> None:
        self._driver = driver
        self._end_seconds = end_seconds

    def __repr__(self) -> str:
        return f"<FreeEvent at {self._end_seconds}>"

    @property
    def is_past(self) -> bool:
        """Whether it is later."""
        return time.monotonic() >= self._end_seconds

    def wait(self) -> None:
        """Sleep until then."""
        self._driver.waited()
        time.sleep(max(0.0, self._end_seconds - time.monotonic()))

    def hold_stream(self) -> None:
        """Do nothing."""
