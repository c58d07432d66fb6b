"""Tensors over addresses that somebody else looks after."""

from typing import cast

import torch


def storage_over(device: torch.device, address: int, byte_count: int) -> torch.UntypedStorage:
    """Return addresses as a storage that owns nothing, and that neither reads nor needs memory behind them.

    The way is the one that torch takes for its graphs' own memory. The public ways look the address up, and refuse one
    with nothing behind it.
    """
    made = torch._C._construct_storage_from_data_pointer(address, device, byte_count)  # noqa: SLF001 - see above.
    return cast("torch.UntypedStorage", made)


def bytes_over(device: torch.device, address: int, byte_count: int) -> torch.Tensor:
    """Return addresses as one dimension of uint8."""
    return strided_over(storage_over(device, address, byte_count), device, dtype=torch.uint8, shape=(byte_count,))


def strided_over(
    storage: torch.UntypedStorage,
    device: torch.device,
    *,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    offset_bytes: int = 0,
) -> torch.Tensor:
    """Return a view of a storage; rows follow each other where no stride is given."""
    if stride is None:
        stride = torch.empty(shape, device="meta").stride()
    empty = torch.empty(0, dtype=dtype, device=device)
    return empty.set_(storage, offset_bytes // dtype.itemsize, shape, stride)
