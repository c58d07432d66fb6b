"""What the vocoder's layers do between their convolutions, and how torch alone computes it.

Rules
* Activations are (windows, channels, steps), contiguous, in fp32, and zero from a window's end on: a convolution that
  reaches beyond it then sees what upstream's padding would be. A step is any place in time: a frame, or a part of one.
* Convolutions come without their bias, which is added here, where what lies beyond the end is made zero again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch.nn import functional

ALPHA_FLOOR: Final = 1e-9
"""Upstream's `Snake.no_div_by_zero`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How many steps of a layer are a window's: `rate` for each of its frames, and `extra` more.

    `frames` (windows,), int64, are each window's; a scalar is one window's.
    """

    frames: torch.Tensor
    rate: int = 1
    extra: int = 0

    def holds(self, steps: int) -> torch.Tensor:
        """Return which of so many steps are each window's (windows, 1, steps)."""
        ends = self.frames.reshape(-1, 1, 1) * self.rate + self.extra
        return torch.arange(steps, device=self.frames.device) < ends


class VocoderOperations(Protocol):
    """The operations on one device."""

    def leaked(self, convolved: torch.Tensor, bias: torch.Tensor, extent: Extent, slope: float) -> torch.Tensor:
        """Return a convolution's output through a leaky ReLU."""
        ...

    def snaked(self, values: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        """Return x + sin(alpha x)^2 / alpha."""
        ...

    def finished(
        self, convolved: torch.Tensor, bias: torch.Tensor, extent: Extent, alpha: torch.Tensor
    ) -> torch.Tensor:
        """Return a convolution's output, snaked."""
        ...

    def added(
        self,
        convolved: torch.Tensor,
        bias: torch.Tensor,
        extent: Extent,
        *,
        base: torch.Tensor | None = None,
        alpha: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a convolution's output and the base that it is added to; the same again, snaked if there is alpha."""
        ...

    def mixed(self, branches: Sequence[torch.Tensor], slope: float) -> torch.Tensor:
        """Return the mean of three branches through a leaky ReLU."""
        ...


class PlainVocoderOperations:
    """Torch's own, one by one."""

    def leaked(self, convolved: torch.Tensor, bias: torch.Tensor, extent: Extent, slope: float) -> torch.Tensor:
        """Add, cut, leak."""
        return functional.leaky_relu(_cut(convolved, bias, extent), slope)

    def snaked(self, values: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        """As upstream has it."""
        alpha = alpha[:, None]
        return values + (1.0 / (alpha + ALPHA_FLOOR)) * torch.sin(values * alpha).square()

    def finished(
        self, convolved: torch.Tensor, bias: torch.Tensor, extent: Extent, alpha: torch.Tensor
    ) -> torch.Tensor:
        """Add, cut, snake."""
        return self.snaked(_cut(convolved, bias, extent), alpha)

    def added(
        self,
        convolved: torch.Tensor,
        bias: torch.Tensor,
        extent: Extent,
        *,
        base: torch.Tensor | None = None,
        alpha: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add, cut, and snake."""
        value = _cut(convolved, bias, extent)
        if base is not None:
            value = value + base
        return value, value if alpha is None else self.snaked(value, alpha)

    def mixed(self, branches: Sequence[torch.Tensor], slope: float) -> torch.Tensor:
        """Add up, divide, leak."""
        first, second, third = branches
        return functional.leaky_relu((first + second + third) / 3, slope)

    def __repr__(self) -> str:
        return "<PlainVocoderOperations>"


def _cut(convolved: torch.Tensor, bias: torch.Tensor, extent: Extent) -> torch.Tensor:
    """Return a convolution's output with its bias, and zero beyond the window's end."""
    return torch.where(extent.holds(convolved.shape[2]), convolved + bias[:, None], 0.0)
