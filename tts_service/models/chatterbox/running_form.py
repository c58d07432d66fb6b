"""The form in which a module's weights run: the type of each, and how it lies in memory.

Weights are brought into it once, while they are read, so that a restore is a plain copy. A network in another form is
the same network: names, shapes and, to rounding, values are the file's. What has been placed side by side can be
multiplied at once: `adjacent` gives several weights as one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Final, Protocol

import torch

from tts_service.types import Precision as Precision  # noqa: PLC0414  # Whoever knows forms need not know its home.

ALIGNMENT_BYTES: Final = 512
"""Of every tensor, as in torch's device allocator. A tensor of a multiple of it has the next one beside it."""

MemoryOrder = tuple[int, ...]
"""A tensor's dimensions in the order in which they lie in memory, the slowest first."""

DTYPES: Final = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorForm:
    """One tensor's type, and its dimensions' order in memory; None for the plain one."""

    dtype: torch.dtype
    memory_order: MemoryOrder | None = None

    def empty_in(self, memory: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Return a view of this shape and form over memory (one dimension of uint8, of exactly its bytes)."""
        order = self.memory_order or tuple(range(len(shape)))
        assert sorted(order) == list(range(len(shape))), f"{order} is no order of {len(shape)} dimensions"
        lying = memory.view(self.dtype).view([shape[each] for each in order])
        return lying.permute([order.index(each) for each in range(len(shape))])

    def held(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor in this form: itself if it is, else a copy."""
        if self.memory_order is None:
            return tensor.to(self.dtype)
        memory = torch.empty(tensor.numel() * self.dtype.itemsize, dtype=torch.uint8, device=tensor.device)
        return self.empty_in(memory, tuple(tensor.shape)).copy_(tensor)


def _is_frequency(name: str) -> bool:
    """Rotary frequencies are multiplied by positions: in bf16 those beyond 256 would not be told apart."""
    return name.endswith("inv_freq")


def _plain(name: str, shape: tuple[int, ...]) -> MemoryOrder | None:
    del name, shape
    return None


def _as_named(names: Sequence[str]) -> Sequence[str]:
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningForm:
    """A module's form. Functions take the network's names, as in its state dict.

    `stays_fp32` tells which tensors do, whatever the precision. `memory_order` may give a tensor another order of its
    dimensions. `arranged` may put the names in another order, for tensors that are to be neighbours; it returns all.
    Only what the file has in fp32 is cast.
    """

    precision: Precision = Precision.FP32
    stays_fp32: Callable[[str], bool] = _is_frequency
    memory_order: Callable[[str, tuple[int, ...]], MemoryOrder | None] = _plain
    arranged: Callable[[Sequence[str]], Sequence[str]] = _as_named

    def __repr__(self) -> str:
        return f"<RunningForm {self.precision}>"

    def of_tensor(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> TensorForm:
        """Return one tensor's form; `dtype` is the file's."""
        is_cast = dtype is torch.float32 and not self.stays_fp32(name)
        running = DTYPES[self.precision] if is_cast else dtype
        return TensorForm(dtype=running, memory_order=self.memory_order(name, shape))


AS_TRAINED: Final = RunningForm()
"""fp32, as upstream has it."""


class _HasParameters(Protocol):
    def parameters(self) -> Iterator[torch.nn.Parameter]: ...


def running_dtype(network: _HasParameters) -> torch.dtype:
    """Return the type that a network's matrices have: what it is to be fed with."""
    return next(each.dtype for each in network.parameters() if each.is_floating_point() and each.dim() > 1)


def adjacent(weights: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """Return weights that follow each other in memory as one, (sum of rows, columns), without copying.

    None if they do not: there is a gap, or they differ in type or columns, or one is not contiguous. Vectors are joined
    to one vector.
    """
    first = weights[0].detach()
    if not all(_continues(first, each) for each in weights) or not _touch(weights):
        return None
    return first.as_strided((sum(each.shape[0] for each in weights), *first.shape[1:]), first.stride())


def _continues(first: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether two tensors could be parts of one."""
    return (
        other.device.type != "meta"
        and other.dtype == first.dtype
        and other.shape[1:] == first.shape[1:]
        and other.is_contiguous()
        and other.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
    )


def _touch(weights: Sequence[torch.Tensor]) -> bool:
    return all(before.data_ptr() + before.nbytes == after.data_ptr() for before, after in pairwise(weights))


def placed(sizes: Mapping[str, int], form: RunningForm) -> tuple[dict[str, int], int]:
    """Return where tensors of these bytes begin in one piece of memory, by name, and the bytes of the whole."""
    begins, end = {}, 0
    for name in form.arranged(tuple(sizes)):
        begins[name] = end
        end += aligned(sizes[name])
    assert begins.keys() == sizes.keys(), "a form arranges every tensor, and once"
    return begins, end


def aligned(byte_count: int) -> int:
    """Return bytes with what is left free behind them."""
    return -(-byte_count // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def packed(network: torch.nn.Module, form: RunningForm) -> torch.nn.Module:
    """Bring a network's parameters and buffers, in place, into one piece of memory in this form, and return it.

    Tables that are computed and in no state dict come too. Names, shapes and, to rounding, values stay. All tensors are
    on one device; one that has two names is there once. Recurrent networks lose cuDNN's own arrangement.
    """
    tensors = dict(_unique(chain(network.named_parameters(), network.named_buffers())))
    forms = {name: form.of_tensor(name, each.dtype, tuple(each.shape)) for name, each in tensors.items()}
    sizes = {name: each.numel() * forms[name].dtype.itemsize for name, each in tensors.items()}
    begins, byte_count = placed(sizes, form)
    [device] = {each.device for each in tensors.values()}
    memory = torch.empty(byte_count, dtype=torch.uint8, device=device)
    for name, tensor in tensors.items():
        piece = memory[begins[name] : begins[name] + sizes[name]]
        tensor.data = forms[name].empty_in(piece, tuple(tensor.shape)).copy_(tensor.detach())
    return network


def _unique(named: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    seen = set()
    for name, tensor in named:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor
