"""This process's memory as the operating system sees it, and the way to give back what is free."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

STATM = Path("/proc/self/statm")


M_ARENA_MAX = -8
"""glibc's name for the number of its heaps (malloc.h)."""


class ProcessMemory:
    """The resident set, and the C library's `malloc_trim`.

    glibc keeps what is freed: without the trim, an eviction returns next to nothing. It also gives threads heaps of
    their own, whose upper end the trim leaves alone: of 70 MiB, 13 stayed after 20 cycles, and more crept up later.
    So this asks for one heap, which must happen before other threads have theirs; speech costs the same. Where the
    library is another, there is nothing to ask, and where there is no /proc, nothing to read.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._trim: Callable[[int], int] | None = getattr(library, "malloc_trim", None)
        if self._trim is not None:
            library.mallopt(M_ARENA_MAX, 1)

    def __repr__(self) -> str:
        trimmed = "trims" if self._trim is not None else "cannot trim"
        return f"<ProcessMemory {self.resident_bytes() >> 20} MiB resident | {trimmed}>"

    def resident_bytes(self) -> int:
        """Return the resident set; 0 where it is unknown."""
        try:
            return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except FileNotFoundError:
            return 0

    def give_back(self) -> None:
        """Return freed memory to the operating system. Takes about 5 ms for each 100 MiB, without Python's lock."""
        if self._trim is not None:
            self._trim(0)
