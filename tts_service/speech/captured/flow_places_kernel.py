"""Triton kernels around a step of decodes that stand in places: lay out what the estimator sees, and step.

One launch each, so that a decode may join, leave or change its neighbours without a copy: who takes part is read from
the device. Equal to `flow_operations.PlainOperations.gathered` and `advance`.
"""

from typing import Final

import torch
import triton
import triton.language as tl

from tts_service.speech.captured.flow_operations import Chosen

FRAMES: Final = 4


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _gather_kernel(  # noqa: PLR0917  # Triton passes arguments by place.
    mel: tl.tensor,
    given: tl.tensor,
    places: tl.tensor,
    lengths: tl.tensor,
    out: tl.tensor,
    streams: tl.tensor,
    frames: tl.tensor,
    most_frames: tl.tensor,
    bands: tl.constexpr,
    channels: tl.constexpr,
    tile: tl.constexpr,
    band_block: tl.constexpr,
    channel_block: tl.constexpr,
) -> None:
    """Lay out some frames of one row: the mel, then what it is made from, unless the row goes without."""
    row = tl.program_id(1)
    stream = row % streams
    frame = tl.program_id(0) * tile + tl.arange(0, tile)[:, None]
    band, channel = tl.arange(0, band_block)[None, :], tl.arange(0, channel_block)[None, :]
    inside = frame < frames
    real = inside & (frame < tl.load(lengths + stream))
    source = tl.load(places + stream).to(tl.int64) * most_frames + frame
    target = out + (row.to(tl.int64) * frames + frame) * (bands + channels)
    shown = tl.load(mel + source * bands + band, mask=real & (band < bands), other=0.0)
    tl.store(target + band, shown.to(out.dtype.element_ty), mask=inside & (band < bands))
    seen = real & (channel < channels) & (row < streams)
    beside = tl.load(given + source * channels + channel, mask=seen, other=0.0)
    tl.store(target + bands + channel, beside, mask=inside & (channel < channels))


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _advance_kernel(  # noqa: PLR0917  # Triton passes arguments by place.
    direction: tl.tensor,
    mel: tl.tensor,
    places: tl.tensor,
    span: tl.tensor,
    span_stride: tl.tensor,
    streams: tl.tensor,
    frames: tl.tensor,
    most_frames: tl.tensor,
    bands: tl.tensor,
    guided: tl.constexpr,
    tile: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Step some frames of one stream: what `flow_solver_kernel` computes, where the stream's mel stands."""
    stream = tl.program_id(1)
    frame = tl.program_id(0) * tile + tl.arange(0, tile)[:, None]
    lane = tl.arange(0, block)[None, :]
    real = (frame < frames) & (lane < bands)
    own = (stream * frames + frame).to(tl.int64)
    span += stream * span_stride
    way = tl.load(span + 1) * tl.load(direction + own * bands + lane, mask=real, other=0.0).to(tl.float32)
    if guided:
        other = own + streams * frames
        without = tl.load(direction + other * bands + lane, mask=real, other=0.0).to(tl.float32)
        way += tl.load(span + 2) * without
    kept = mel + (tl.load(places + stream).to(tl.int64) * most_frames + frame) * bands + lane
    tl.store(kept, tl.load(kept, mask=real, other=0.0) + tl.load(span) * way, mask=real)


def gathered(mel: torch.Tensor, given: torch.Tensor, chosen: Chosen, dtype: torch.dtype) -> torch.Tensor:
    """Return (rows, frames, 320), as `FlowOperations.gathered` says; all tensors are contiguous."""
    streams, bands, channels = len(chosen.places), mel.shape[2], given.shape[2]
    assert mel.is_contiguous()
    assert given.is_contiguous()
    assert given.dtype == dtype
    rows = 2 * streams if chosen.guided else streams
    out = given.new_empty(rows, chosen.frames, bands + channels)
    _gather_kernel[(triton.cdiv(chosen.frames, FRAMES), rows)](
        mel,
        given,
        chosen.places,
        chosen.lengths,
        out,
        streams,
        chosen.frames,
        mel.shape[1],
        bands,
        channels,
        FRAMES,
        triton.next_power_of_2(bands),
        triton.next_power_of_2(channels),
        num_warps=4,
    )
    return out


def advance(direction: torch.Tensor, mel: torch.Tensor, span: torch.Tensor, chosen: Chosen) -> None:
    """Take the step, as `FlowOperations.advance` says; all tensors but `span` are contiguous."""
    assert direction.is_contiguous()
    assert mel.is_contiguous()
    streams, bands = len(chosen.places), mel.shape[2]
    _advance_kernel[(triton.cdiv(chosen.frames, FRAMES), streams)](
        direction,
        mel,
        chosen.places,
        span,
        span.stride(0),
        streams,
        chosen.frames,
        mel.shape[1],
        bands,
        chosen.guided,
        FRAMES,
        triton.next_power_of_2(bands),
        num_warps=4,
    )
