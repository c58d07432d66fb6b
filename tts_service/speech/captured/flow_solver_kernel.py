"""A Triton kernel for the solver's step: guidance, Euler's method, and the next step's input, in one launch.

Equal to `flow_operations.PlainOperations.solve`.
"""

from typing import Final

import torch
import triton
import triton.language as tl

FRAMES: Final = 4


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _solve_kernel(  # noqa: PLR0917  # Triton passes arguments by place.
    direction: tl.tensor,
    mel: tl.tensor,
    given: tl.tensor,
    span: tl.tensor,
    span_stride: tl.tensor,
    streams: tl.tensor,
    frames: tl.tensor,
    bands: tl.tensor,
    given_channels: tl.tensor,
    guided: tl.constexpr,
    tile: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Step some frames of one stream."""
    stream = tl.program_id(1)
    frame = tl.program_id(0) * tile + tl.arange(0, tile)[:, None]
    lane = tl.arange(0, block)[None, :]
    real = (frame < frames) & (lane < bands)
    place = (stream * frames + frame).to(tl.int64)
    span += stream * span_stride
    way = tl.load(span + 1) * tl.load(direction + place * bands + lane, mask=real, other=0.0).to(tl.float32)
    other = place + streams * frames
    if guided:
        without = tl.load(direction + other * bands + lane, mask=real, other=0.0).to(tl.float32)
        way += tl.load(span + 2) * without
    made = tl.load(mel + place * bands + lane, mask=real, other=0.0) + tl.load(span) * way
    tl.store(mel + place * bands + lane, made, mask=real)
    shown = made.to(given.dtype.element_ty)
    tl.store(given + place * given_channels + lane, shown, mask=real)
    if guided:
        tl.store(given + other * given_channels + lane, shown, mask=real)


def solve(direction: torch.Tensor, mel: torch.Tensor, given: torch.Tensor, span: torch.Tensor) -> None:
    """Take the step, as `FlowOperations.solve` says; all tensors but `span` are contiguous."""
    streams, frames, bands = mel.shape
    assert all(each.is_contiguous() for each in (direction, mel, given))
    _solve_kernel[(triton.cdiv(frames, FRAMES), streams)](
        direction,
        mel,
        given,
        span,
        span.stride(0),
        streams,
        frames,
        bands,
        given.shape[2],
        len(direction) > streams,
        FRAMES,
        triton.next_power_of_2(bands),
        num_warps=4,
    )
