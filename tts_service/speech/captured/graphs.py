"""What a captured stage asks of the device: memory at fixed addresses, and work that can be repeated.

Rules
* A buffer's contents are undefined whenever the stage begins anew (its memory may have been away since): it is written
  before it is read, in every replay or before it. Weights are nobody's buffers. What must keep its value is a constant.
* Captured work reads and writes buffers, constants and weights, at addresses that do not change, and nothing else. Its
  own intermediates belong to the graphs, and are worth nothing between two replays.
* Work is captured before the service is ready, under a lease on the module that it reads, and replayed under one.
* Replays of one `Graphs` follow each other: its graphs share their intermediates' memory, and cuBLAS's workspace, which
  torch keeps for each stream of capture. Stages that overlap have one each, captured on streams of their own.
"""

from collections.abc import Callable
from typing import Protocol

import torch

Work = Callable[[], None]
"""Work without arguments or result: what goes in and comes out are buffers."""


class Graphs(Protocol):
    """Where one stage's work is captured. All tensors are on `device`."""

    device: torch.device

    def buffer(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Return memory at an address for life, contiguous, with undefined contents."""
        ...

    def constant(self, values: torch.Tensor) -> torch.Tensor:
        """Return values on the device that never leave it: a few KiB, since they count even when all is idle."""
        ...

    def capture(self, name: str, work: Work) -> Work:
        """Run `work` to warm it up, capture it, and return what repeats it on the caller's current stream.

        `name` is for errors and reports.
        """
        ...


class EagerGraphs:
    """Captures nothing: work is run each time. For CPUs, and where graphs are switched off."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.captured: list[str] = []

    def buffer(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Return memory full of what nobody should rely on: NaN, or the largest number."""
        memory = torch.empty(shape, dtype=dtype, device=self.device)
        return memory.fill_(torch.nan if dtype.is_floating_point else 1 if dtype is torch.bool else 77)

    def constant(self, values: torch.Tensor) -> torch.Tensor:
        """Return values on the device."""
        return values.to(self.device)

    def capture(self, name: str, work: Work) -> Work:
        """Run the work once, as capturing does, and return it."""
        work()
        self.captured.append(name)
        return work

    def __repr__(self) -> str:
        return f"<EagerGraphs on {self.device} | {len(self.captured)} pieces of work>"
