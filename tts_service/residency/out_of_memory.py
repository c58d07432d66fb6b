"""Tells a lack of memory from all else that can go wrong, whoever says it in whatever words."""

import errno

import torch

_WORDS = (
    "can't allocate memory",
    "failed to allocate memory",
    "bad allocation",
    "bad_alloc",
    "cuda error: out of memory",
)
"""What torch's and onnxruntime's own exceptions say when there is no memory; neither raises MemoryError."""


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether there was no memory, on the host or on a device."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    words = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(each in words for each in _WORDS)
