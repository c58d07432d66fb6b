"""The vocoder's operations as one Triton kernel each time: a layer's values are read once and written once."""

from collections.abc import Sequence
from typing import Any, Final

import torch
import triton
import triton.language as tl

from tts_service.speech.captured.vocoder_operations import ALPHA_FLOOR, Extent

_BLOCK: Final = 1024
_NO_ACT: Final = 0
_SNAKE: Final = 1
_LEAKY: Final = 2


@triton.jit(do_not_specialize=["steps", "channels", "rate", "extra"])  # type: ignore[untyped-decorator]  # Triton's.
def _pointwise(  # noqa: PLR0917  # Triton passes arguments by place.
    values: tl.tensor,
    bias: tl.tensor,
    base: tl.tensor,
    third: tl.tensor,
    alpha: tl.tensor,
    frames: tl.tensor,
    active_out: tl.tensor,
    steps: tl.tensor,
    channels: tl.tensor,
    total: tl.tensor,
    rate: tl.tensor,
    extra: tl.tensor,
    slope: tl.tensor,
    cut: tl.constexpr,
    adds: tl.constexpr,
    act: tl.constexpr,
    keeps: tl.constexpr,
    floor: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Write what `_launched` says; `values` itself is overwritten if keeps."""
    place = tl.program_id(0) * block + tl.arange(0, block)
    inside = place < total
    line = place // steps
    channel = line % channels
    value = tl.load(values + place, mask=inside, other=0.0)
    if cut:
        end = tl.load(frames + line // channels, mask=inside, other=0).to(tl.int32) * rate + extra
        value += tl.load(bias + channel, mask=inside, other=0.0)
        value = tl.where(place - line * steps < end, value, 0.0)
    if adds >= 1:
        value += tl.load(base + place, mask=inside, other=0.0)
    if adds == 2:  # noqa: PLR2004  # Two more.
        value = (value + tl.load(third + place, mask=inside, other=0.0)) / 3.0
    if keeps:
        tl.store(values + place, value, mask=inside)
    if act == 1:
        scale = tl.load(alpha + channel, mask=inside, other=1.0)
        wave = tl.sin(value * scale)
        tl.store(active_out + place, value + (1.0 / (scale + floor)) * (wave * wave), mask=inside)
    if act == 2:  # noqa: PLR2004  # _LEAKY.
        tl.store(active_out + place, tl.where(value > 0, value, value * slope), mask=inside)


class FusedVocoderOperations:
    """The operations, a kernel each. Convolutions' outputs are overwritten, and so is the first of three branches."""

    def leaked(self, convolved: torch.Tensor, bias: torch.Tensor, extent: Extent, slope: float) -> torch.Tensor:
        """Add, cut and leak, in place."""
        return _launched(convolved, convolved, bias=bias, extent=extent, act=_LEAKY, slope=slope)

    def snaked(self, values: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        """Snake."""
        return _launched(values, torch.empty_like(values), act=_SNAKE, alpha=alpha)

    def finished(
        self, convolved: torch.Tensor, bias: torch.Tensor, extent: Extent, alpha: torch.Tensor
    ) -> torch.Tensor:
        """Add, cut and snake, in place."""
        return _launched(convolved, convolved, bias=bias, extent=extent, act=_SNAKE, alpha=alpha)

    def added(
        self,
        convolved: torch.Tensor,
        bias: torch.Tensor,
        extent: Extent,
        *,
        base: torch.Tensor | None = None,
        alpha: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add and cut, in place, and snake."""
        active = convolved if alpha is None else torch.empty_like(convolved)
        act = _NO_ACT if alpha is None else _SNAKE
        _launched(convolved, active, bias=bias, extent=extent, base=base, keeps=True, act=act, alpha=alpha)
        return convolved, active

    def mixed(self, branches: Sequence[torch.Tensor], slope: float) -> torch.Tensor:
        """Add up, divide and leak, in place of the first."""
        first, second, third = branches
        return _launched(first, first, base=second, third=third, act=_LEAKY, slope=slope)

    def __repr__(self) -> str:
        return "<FusedVocoderOperations>"


def _launched(
    values: torch.Tensor,
    active: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    extent: Extent | None = None,
    base: torch.Tensor | None = None,
    third: torch.Tensor | None = None,
    alpha: torch.Tensor | None = None,
    keeps: bool = False,
    act: int,
    slope: float = 0.0,
) -> torch.Tensor:
    """Launch the kernel and return `active`; what is not there is not read, and any address stands in for it."""
    assert values.is_contiguous()
    assert values.dtype == torch.float32
    total, (_, channels, steps) = values.numel(), values.shape
    assert extent is None or extent.frames.is_contiguous()
    kernel: Any = _pointwise
    kernel[(triton.cdiv(total, _BLOCK),)](
        values,
        values if bias is None else bias,
        values if base is None else base,
        values if third is None else third,
        values if alpha is None else alpha,
        values if extent is None else extent.frames,
        active,
        steps,
        channels,
        total,
        1 if extent is None else extent.rate,
        0 if extent is None else extent.extra,
        slope,
        cut=extent is not None,
        adds=(base is not None) + (third is not None),
        act=act,
        keeps=keeps,
        floor=ALPHA_FLOOR,
        block=_BLOCK,
    )
    return active
