"""A module's tensors, and the pieces of memory that they are views of.

Tensors that share memory must share it on a device too: tied weights are one weight, and a module whose tensors are
views of one piece of memory is copied at once. So what is copied are pieces, each from the first byte that a tensor
uses to the last, and the views are made again over the copies.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Protocol, runtime_checkable

import torch

ALIGNMENT_BYTES: Final = 512
"""Pieces begin at multiples of it, as torch's allocator has it, so that views are aligned as in host memory."""


@runtime_checkable
class HoldsTorchModules(Protocol):
    """An object that computes with torch modules and is none itself."""

    def torch_modules(self) -> Iterable[torch.nn.Module]:
        """Return all of them; whatever they contain belongs to them."""
        ...


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class View:
    """A tensor of a module, the memory that it has in host memory, and its place in a piece."""

    tensor: torch.Tensor
    host: torch.Tensor
    piece: int
    offset_bytes: int

    def __repr__(self) -> str:
        return f"<View {tuple(self.host.shape)} of {self.host.dtype} | piece {self.piece} at {self.offset_bytes}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ModuleTensors:
    """Views of all parameters and buffers of a module, and the pieces (one dimension of uint8) in host memory."""

    views: Sequence[View]
    pieces: Sequence[torch.Tensor]

    def __repr__(self) -> str:
        return f"<ModuleTensors {len(self.views)} in {len(self.pieces)} pieces | {self.byte_count} bytes>"

    @property
    def byte_count(self) -> int:
        """What all pieces hold."""
        return sum(piece.nbytes for piece in self.pieces)


def torch_modules(module: object) -> tuple[torch.nn.Module, ...]:
    """Return the torch modules of a module. Raises TypeError if it is and holds none."""
    if isinstance(module, torch.nn.Module):
        return (module,)
    if isinstance(module, HoldsTorchModules):
        return tuple(module.torch_modules())
    raise TypeError(f"{type(module).__name__} is no torch module and holds none, so it cannot be on a device")


def module_tensors(module: object) -> ModuleTensors:
    """Return the tensors of a module in host memory.

    Raises TypeError for a module that is none of torch's, ValueError for tensors that are elsewhere or not plain.
    """
    tensors = {id(each): each for each in _tensors(module)}.values()
    for tensor in tensors:
        if tensor.device.type != "cpu" or tensor.layout is not torch.strided:
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is on {tensor.device}, or sparse")
    spans: dict[int, tuple[int, int]] = {}
    for tensor in tensors:
        key, (begin, end) = _storage_key(tensor), _span(tensor)
        first, last = spans.get(key, (begin, end))
        spans[key] = (min(first, begin), max(last, end))
    storages = {_storage_key(tensor): tensor.untyped_storage() for tensor in tensors}
    places = {key: place for place, key in enumerate(spans)}
    return ModuleTensors(
        [
            View(tensor, tensor.data, places[key], _begin(tensor) - spans[key][0])
            for tensor, key in ((each, _storage_key(each)) for each in tensors)
        ],
        [_bytes(storages[key], begin, end) for key, (begin, end) in spans.items()],
    )


def view_of(view: View, copies: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the same view over copies of the pieces."""
    copy, host = copies[view.piece], view.host
    offset = view.offset_bytes // host.element_size()
    empty = torch.empty(0, dtype=host.dtype, device=copy.device)
    return empty.set_(copy.untyped_storage(), offset, host.shape, host.stride())


def _tensors(module: object) -> Iterator[torch.Tensor]:
    for each in torch_modules(module):
        yield from chain(each.parameters(), each.buffers())


def _storage_key(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _begin(tensor: torch.Tensor) -> int:
    return int(tensor.storage_offset()) * tensor.element_size()


def _span(tensor: torch.Tensor) -> tuple[int, int]:
    """Return the bytes of its memory that a tensor uses, from a multiple of the alignment to the last."""
    begin = _begin(tensor)
    if tensor.numel() == 0:
        return begin - begin % ALIGNMENT_BYTES, begin
    steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return begin - begin % ALIGNMENT_BYTES, begin + (steps + 1) * tensor.element_size()


def _bytes(storage: torch.UntypedStorage, begin: int, end: int) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8, device="cpu").set_(storage, begin, (end - begin,), (1,))
