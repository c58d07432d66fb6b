"""A module's weights in host memory: one piece, each tensor at its place in it.

One piece, because memory that is taken at once goes back to the operating system at once, and because a device arena of
the same form can be filled from it in one copy. The file is read straight into it, so that loading holds nothing twice;
mapping the file instead was tried: its pages count as resident beside the copy, and without a copy a file that is
truncated later kills the process.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch

from tts_service.models.chatterbox.weight_file import StoredTensor

ALIGNMENT_BYTES: Final = 512
"""Of every tensor in a master, as in torch's device allocator."""

READ_BYTES: Final = 16 << 20
"""What is read before progress is told; small enough to be checked for NaN while it is in the processor's cache."""


class EndOfFileError(Exception):
    """A file ended before its weights did."""


@dataclass(frozen=True, slots=True)
class HostMaster:
    """A module's memory: `bytes_` (one dimension of uint8), and the tensors by name, which are views of it."""

    bytes_: torch.Tensor
    tensors: Mapping[str, torch.Tensor]

    def __repr__(self) -> str:
        return f"<HostMaster {len(self.tensors)} tensors | {self.bytes_.nbytes / 2**20:.1f} MiB>"


def allocate_master(stored: Mapping[str, StoredTensor]) -> HostMaster:
    """Return memory for these tensors, with nothing in it yet."""
    memory = torch.empty(placed_bytes(stored), dtype=torch.uint8, device="cpu")
    views, start = {}, 0
    for name, each in stored.items():
        views[name] = memory[start : start + each.byte_count].view(each.dtype).view(each.shape)
        start += _aligned(each.byte_count)
    return HostMaster(memory, views)


def placed_bytes(stored: Mapping[str, StoredTensor]) -> int:
    """Return how much memory a master of these tensors takes."""
    return sum(_aligned(each.byte_count) for each in stored.values())


def _aligned(byte_count: int) -> int:
    return -(-byte_count // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def read_tensor(
    file: io.RawIOBase, stored: StoredTensor, target: torch.Tensor, progress: Callable[[int], None]
) -> bool:
    """Read one tensor into its memory, and return whether all its values are finite.

    `progress` takes the bytes of each piece as it arrives. Raises OSError and EndOfFileError.
    """
    assert (stored.dtype, stored.shape) == (target.dtype, tuple(target.shape))
    file.seek(stored.start_byte)
    flat = target.view(-1)
    finite, piece = True, READ_BYTES // stored.dtype.itemsize
    for begin in range(0, flat.numel(), piece):
        values = flat[begin : begin + piece]
        _fill(file, values)
        finite = finite and _is_finite(values)
        progress(values.nbytes)
    return finite


def _fill(file: io.RawIOBase, values: torch.Tensor) -> None:
    window = values.view(torch.uint8).numpy().data
    while window:
        count = file.readinto(window)
        if not count:
            raise EndOfFileError
        window = window[count:]


def _is_finite(values: torch.Tensor) -> bool:
    """Look at the extremes: NaN is passed on by both, and no copy of the values is made."""
    if not values.dtype.is_floating_point:
        return True
    low, high = torch.aminmax(values)
    return bool(torch.isfinite(low)) and bool(torch.isfinite(high))
