"""Host memory for weights, on pages of its own."""

import mmap
from contextlib import suppress

import torch


def own_pages(byte_count: int) -> torch.Tensor:
    """Return host memory (one dimension of uint8) on pages that nobody shares, given back as a whole when dropped.

    Whoever first writes to a page has the system make it, 2 MiB at a time where it can.
    """
    pages = mmap.mmap(-1, max(1, byte_count), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # Only advice: kernels without huge pages refuse it.
        with suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.uint8, count=byte_count) if byte_count else torch.empty(0).byte()
