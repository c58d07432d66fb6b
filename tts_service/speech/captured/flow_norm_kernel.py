"""Triton kernels around the flow's norms: one launch for what torch does in three to eight.

One program takes one frame of one row: its channels, in fp32. The torch functions that each equals are those of
`flow_operations.PlainOperations`.
"""

import torch
import triton
import triton.language as tl

from tts_service.speech.captured.flow_weights import Norm


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _normed(  # noqa: PLR0917  # Triton passes arguments by place.
    values: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    channels: tl.tensor,
    epsilon: tl.constexpr,
    block: tl.constexpr,
) -> tl.tensor:
    """Return a layer norm of one frame."""
    lane = tl.arange(0, block)
    real = lane < channels
    mean = tl.sum(values, axis=0) / channels
    centred = tl.where(real, values - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / channels + epsilon)
    gain = tl.load(weight + lane, mask=real, other=0.0).to(tl.float32)
    return centred * scale * gain + tl.load(bias + lane, mask=real, other=0.0).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _mish(values: tl.tensor) -> tl.tensor:
    """Return values * tanh(log(1 + exp(values))), by exp alone; beyond 20, tanh is 1."""
    grown = tl.exp(tl.minimum(values, 20.0))
    squared = grown * (grown + 2.0)
    return values * squared / (squared + 2.0)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _spread_store(  # noqa: PLR0917  # Triton passes arguments by place.
    out: tl.tensor,
    made: tl.tensor,
    row: tl.tensor,
    frame: tl.tensor,
    frames: tl.tensor,
    channels: tl.tensor,
    block: tl.constexpr,
) -> None:
    """Store a frame beside itself and beside the two that follow it; zeros stand before the first."""
    lane = tl.arange(0, block)
    real = lane < channels
    place = out + (row * frames + frame).to(tl.int64) * 3 * channels + lane
    tl.store(place + 2 * channels, made, mask=real)
    tl.store(place + 4 * channels, made, mask=real & (frame + 1 < frames))
    tl.store(place + 6 * channels, made, mask=real & (frame + 2 < frames))
    nothing = tl.zeros([block], dtype=tl.float32)
    tl.store(place, nothing, mask=real & (frame == 0))
    tl.store(place + channels, nothing, mask=real & (frame == 0))
    tl.store(place + 3 * channels, nothing, mask=real & (frame == 0) & (frames > 1))


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _settle_kernel(  # noqa: PLR0917  # Triton passes arguments by place.
    stream: tl.tensor,
    change: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    channels: tl.tensor,
    epsilon: tl.constexpr,
    changed: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Add a change to the stream, and norm it."""
    lane = tl.arange(0, block)
    real = lane < channels
    place = tl.program_id(0).to(tl.int64) * channels + lane
    values = tl.load(stream + place, mask=real, other=0.0)
    if changed:
        values += tl.load(change + place, mask=real, other=0.0).to(tl.float32)
        tl.store(stream + place, values, mask=real)
    made = _normed(values, weight, bias, channels, epsilon, block)
    tl.store(out + place, made.to(out.dtype.element_ty), mask=real)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _spread_kernel(  # noqa: PLR0917  # Triton passes arguments by place.
    values: tl.tensor,
    change: tl.tensor,
    out: tl.tensor,
    frames: tl.tensor,
    channels: tl.tensor,
    changed: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Add a change, and put each frame beside the two that follow it."""
    row, frame, lane = tl.program_id(0) // frames, tl.program_id(0) % frames, tl.arange(0, block)
    place = tl.program_id(0).to(tl.int64) * channels + lane
    made = tl.load(values + place, mask=lane < channels, other=0.0).to(tl.float32)
    if changed:
        made += tl.load(change + place, mask=lane < channels, other=0.0).to(tl.float32)
        tl.store(values + place, made.to(values.dtype.element_ty), mask=lane < channels)
    _spread_store(out, made.to(out.dtype.element_ty), row, frame, frames, channels, block)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _mish_spread_kernel(  # noqa: PLR0917  # Triton passes arguments by place.
    values: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    added: tl.tensor,
    added_stride: tl.tensor,
    streams: tl.tensor,
    out: tl.tensor,
    frames: tl.tensor,
    channels: tl.tensor,
    epsilon: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Norm, Mish, add what the row's stream gets, and spread."""
    row, frame, lane = tl.program_id(0) // frames, tl.program_id(0) % frames, tl.arange(0, block)
    real = lane < channels
    place = tl.program_id(0).to(tl.int64) * channels + lane
    taken = tl.load(values + place, mask=real, other=0.0).to(tl.float32)
    made = _mish(_normed(taken, weight, bias, channels, epsilon, block))
    made += tl.load(added + row % streams * added_stride + lane, mask=real, other=0.0)
    _spread_store(out, made.to(out.dtype.element_ty), row, frame, frames, channels, block)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _mish_stream_kernel(  # noqa: PLR0917  # Triton passes arguments by place.
    values: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    base: tl.tensor,
    out: tl.tensor,
    next_weight: tl.tensor,
    next_bias: tl.tensor,
    next_out: tl.tensor,
    channels: tl.tensor,
    epsilon: tl.constexpr,
    next_epsilon: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Norm, Mish, and add to what stands beside; then norm that."""
    lane = tl.arange(0, block)
    real = lane < channels
    place = tl.program_id(0).to(tl.int64) * channels + lane
    taken = tl.load(values + place, mask=real, other=0.0).to(tl.float32)
    made = _mish(_normed(taken, weight, bias, channels, epsilon, block))
    made += tl.load(base + place, mask=real, other=0.0).to(tl.float32)
    tl.store(out + place, made, mask=real)
    following = _normed(made, next_weight, next_bias, channels, next_epsilon, block)
    tl.store(next_out + place, following.to(next_out.dtype.element_ty), mask=real)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _mish_kernel(  # noqa: PLR0917  # Triton passes arguments by place.
    values: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    channels: tl.tensor,
    epsilon: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Norm, and Mish."""
    lane = tl.arange(0, block)
    real = lane < channels
    place = tl.program_id(0).to(tl.int64) * channels + lane
    taken = tl.load(values + place, mask=real, other=0.0).to(tl.float32)
    made = _mish(_normed(taken, weight, bias, channels, epsilon, block))
    tl.store(out + place, made.to(out.dtype.element_ty), mask=real)


def settled_norm(stream: torch.Tensor, change: torch.Tensor | None, norm: Norm, dtype: torch.dtype) -> torch.Tensor:
    """Add `change` to `stream` (rows, frames, channels), in place, and return its norm in this type."""
    out = torch.empty_like(stream, dtype=dtype)
    _settle_kernel[(_frames_of(stream),)](
        stream,
        stream if change is None else change,
        norm.weight,
        norm.bias,
        out,
        stream.shape[2],
        norm.epsilon,
        change is not None,
        _block(stream),
        num_warps=_warps(stream),
    )
    return out


def spread(values: torch.Tensor, change: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
    """Add `change` to `values` (rows, frames, channels), in place, and return (rows, frames, 3 * channels)."""
    rows, frames, channels = values.shape
    out = values.new_empty(rows, frames, 3 * channels, dtype=dtype)
    _spread_kernel[(rows * frames,)](
        values,
        values if change is None else change,
        out,
        frames,
        channels,
        change is not None,
        _block(values),
        num_warps=_warps(values),
    )
    return out


def mish_spread(values: torch.Tensor, norm: Norm, added: torch.Tensor) -> torch.Tensor:
    """Return (rows, frames, 3 * channels): Mish of the normed values, and `added` (streams, channels, fp32), spread."""
    rows, frames, channels = values.shape
    out = values.new_empty(rows, frames, 3 * channels)
    _mish_spread_kernel[(rows * frames,)](
        values,
        norm.weight,
        norm.bias,
        added,
        added.stride(0),
        len(added),
        out,
        frames,
        channels,
        norm.epsilon,
        _block(values),
        num_warps=_warps(values),
    )
    return out


def mish_stream(
    values: torch.Tensor, norm: Norm, base: torch.Tensor, following: Norm
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Mish of the normed values, and `base`, in fp32, and the next norm of that in the values' type."""
    out, normed = torch.empty_like(values, dtype=torch.float32), torch.empty_like(values)
    _mish_stream_kernel[(_frames_of(values),)](
        values,
        norm.weight,
        norm.bias,
        base,
        out,
        following.weight,
        following.bias,
        normed,
        values.shape[2],
        norm.epsilon,
        following.epsilon,
        _block(values),
        num_warps=_warps(values),
    )
    return out, normed


def mish(values: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Return Mish of the normed values (rows, frames, channels), in their type."""
    out = torch.empty_like(values)
    _mish_kernel[(_frames_of(values),)](
        values,
        norm.weight,
        norm.bias,
        out,
        values.shape[2],
        norm.epsilon,
        _block(values),
        num_warps=_warps(values),
    )
    return out


def _frames_of(values: torch.Tensor) -> int:
    assert values.is_contiguous()
    return values.shape[0] * values.shape[1]


def _block(values: torch.Tensor) -> int:
    return int(triton.next_power_of_2(values.shape[2]))


def _warps(values: torch.Tensor) -> int:
    """Return as many warps as give each thread four to eight channels."""
    return max(1, _block(values) // 256)
