"""What is held and kept of memory, as it is told: by services of their devices, by the kernel of the host.

Sizes are bytes, shares of time percent.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUsage:
    """What a service's process holds of its device; what it did not tell is None. Words as in `residency.proto`."""

    reserved_bytes: int
    allocated_bytes: int
    arena_bytes: int = 0
    scratch_bytes: int = 0
    free_bytes: int | None = None
    total_bytes: int | None = None
    largest_free_block_bytes: int | None = None
    context_bytes: int | None = None
    pinned_host_bytes: int = 0

    @property
    def kept_bytes(self) -> int:
        """What its allocator keeps for use without using it."""
        return max(0, self.reserved_bytes - self.allocated_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimAnswer:
    """What came of the request with that number to give back what an allocator keeps; `left_bytes` None: unknown."""

    number: int
    released_bytes: int = 0
    left_bytes: int | None = None
    obstacle: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    """Host memory beside a GPU. The shares of time that some process, or all, waited for it; None if nobody tells."""

    unix_seconds: float
    total_bytes: int
    free_bytes: int
    some_percent: float | None = None
    full_percent: float | None = None
