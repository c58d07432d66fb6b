"""Graphs on a GPU that is not there: work runs on tensors without memory, and what a capture refuses is refused.

Nothing is computed. What is found out is whether work reads values back, or mixes tensors of the host with the GPU's:
also where a number, assigned through an index of tensors, becomes a tensor on the host by torch's own doing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tts_service.speech.captured.graphs import Work

GPU = torch.device("cuda", 0)


class HostTensorError(AssertionError):
    """Captured work has used a tensor of the host."""


class _Refusing(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's.
    """Refuses operations that take or make tensors of the host."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        made = func(*args, **(kwargs or {}))
        # A number on its way to be an operand becomes a tensor first; only what is done with it counts.
        if "lift_fresh" not in str(func):
            for each in tree_leaves((args, kwargs, made)):
                if isinstance(each, torch.Tensor) and each.device.type != "cuda":
                    raise HostTensorError(f"{func} on {tuple(each.shape)} of the host")
        return made


class RefusingGraphs:
    """Captures nothing, and refuses what a GPU would refuse. Only inside `gpu_without_memory`."""

    def __init__(self) -> None:
        self.device = GPU
        self.captured: list[str] = []

    def buffer(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor of the GPU."""
        return torch.empty(shape, dtype=dtype, device=GPU)

    def constant(self, values: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the GPU."""
        return values.to(GPU)

    def capture(self, name: str, work: Work) -> Work:
        """Run work as if it were captured. What reads a value back fails by torch's own rules."""
        with _Refusing(), torch.inference_mode():  # type: ignore[no-untyped-call]  # torch's.
            work()
        self.captured.append(name)
        return work

    def __repr__(self) -> str:
        return f"<RefusingGraphs {len(self.captured)} pieces of work>"


@contextmanager
def gpu_without_memory() -> Iterator[None]:
    """Let tensors have devices, shapes and dtypes, and no values; memory without values need not be pinned."""
    with FakeTensorMode(allow_non_fake_inputs=True), patch.object(torch.Tensor, "pin_memory", lambda values: values):
        yield


class _NoKernel:
    """A kernel that can be launched, and does nothing."""

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        assert min(grid) > 0
        return self._launched

    @staticmethod
    def _launched(*arguments: Any, **named: Any) -> None:
        for each in (*arguments, *named.values()):
            assert not isinstance(each, torch.Tensor) or each.device == GPU, "a kernel was given the host's memory"


def without_kernels(patches: pytest.MonkeyPatch, module: ModuleType, *names: str) -> None:
    """Let launches of these kernels of a module do nothing."""
    for name in names:
        patches.setattr(module, name, _NoKernel())


def move_to_gpu(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Give a network on the meta device weights and numbers on the GPU that is not there."""
    for module in network.modules():
        for name, weight in module.named_parameters(recurse=False):
            moved = torch.empty(weight.shape, dtype=dtype, device=GPU)
            setattr(module, name, torch.nn.Parameter(moved, requires_grad=False))
        for name, number in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(number.shape, dtype=number.dtype, device=GPU))
