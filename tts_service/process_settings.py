"""What holds for every process of the service."""

import gc
from collections.abc import MutableMapping
from typing import Final

SWITCH_SECONDS: Final = 0.0005
"""How long a thread keeps Python's lock while others want it. Steps of a stream wake up between long pieces of Python:
beside one busy thread they came 0.8 ms late instead of 7 with Python's own 5 ms, at no cost that could be measured."""


def settle_libraries(environment: MutableMapping[str, str]) -> None:
    """Say how CUDA's libraries and torch are to use memory, where nobody has said it; before either computes.

    On a Hopper, each thread and stream that multiplies matrices gets 32 MiB to work in, twice: from cuBLAS, and for
    cuBLASLt. Here both share 8 MiB, which is what other GPUs have. Torch takes memory for whatever is smaller than
    10 MiB in pieces of 20; with one such thing in it, 12 of them are for nothing.
    """
    environment.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:2:16:8")
    environment.setdefault("CUBLASLT_WORKSPACE_SIZE", "8192")
    environment.setdefault("TORCH_CUBLASLT_UNIFIED_WORKSPACE", "1")
    if "PYTORCH_CUDA_ALLOC_CONF" not in environment:
        environment.setdefault("PYTORCH_ALLOC_CONF", "large_segment_size_mb:12")


def freeze_imports() -> None:
    """Keep what is there now, which is what imports left, from being looked through by every full collection.

    In mid-stream one would stop the event loop for 40 ms, and for 0.1 s and more where torch was loaded.
    """
    gc.collect()
    gc.freeze()
