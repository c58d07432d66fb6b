"""Gives back what starting up left: imports and settings take 10 MiB more to read than to keep.

A daemon that watches memory should not hold what it does not use, and what stays for good need not be looked through by
every collection of garbage. The first words with services leave another 2 MiB, and answers to operators now and then.
"""

import ctypes
import gc

M_ARENA_MAX = -8
"""glibc's name for the number of its heaps (malloc.h)."""
SPARE_SECONDS = 30.0
"""Between two returns of free heap, which take about a millisecond."""


def have_one_heap() -> None:
    """Have all threads share a heap, as far as libc can: what is free in one of several goes back to nobody."""
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(M_ARENA_MAX, 1)


def give_back_start_memory() -> None:
    """Collect, keep what is left out of later collections, and return free heap to the system where libc can."""
    gc.collect()
    gc.freeze()
    _trim()


class SpareMemory:
    """Free heap, returned now and then."""

    def __init__(self, *, begun_seconds: float) -> None:
        self._returned_seconds = begun_seconds

    def __repr__(self) -> str:
        return f"<SpareMemory returned at {self._returned_seconds:.0f} s>"

    def tend(self, now_seconds: float) -> bool:
        """Return free heap to the system if it is time; tells whether it was."""
        if now_seconds - self._returned_seconds < SPARE_SECONDS:
            return False
        self._returned_seconds = now_seconds
        _trim()
        return True


def _trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
