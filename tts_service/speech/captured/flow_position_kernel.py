"""A Triton kernel for the encoder's attention: scores for content and for distance, neither of them ever in memory.

All scores for distance of 1152 frames would be 42 MiB, and 21 more as attention takes them. Here a block of queries is
multiplied by the distances that it has to a block of keys, and each frame then takes its own of them. Equal to
`flow_operations.PlainOperations.positioned_attention` for the frames within a row's length.
"""

import math
from typing import Final

import torch
import triton
import triton.language as tl

from tts_service.speech.captured.flow_weights import PositionedBlock

LOG2_E: Final = math.log2(math.e)

BLOCK: Final = 32
WARPS: Final = 4
STAGES: Final = 3
"""Frames that one program answers, and as many that it looks at at once: with 64 it has too few registers."""


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _positioned_kernel(  # noqa: PLR0917  # Triton passes arguments by place.
    qkv: tl.tensor,
    distances: tl.tensor,
    content_bias: tl.tensor,
    position_bias: tl.tensor,
    lengths: tl.tensor,
    out: tl.tensor,
    frames: tl.tensor,
    scale: tl.tensor,
    heads: tl.constexpr,
    width: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Answer `block` frames of one head of one row. Softmax runs along as keys are read, to the base of two."""
    row, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    first = tl.program_id(0) * block
    stride = 3 * heads * width
    begin = qkv + row.to(tl.int64) * frames * stride + head * width
    own, lane = tl.arange(0, block), tl.arange(0, width)
    asking, reach = first + own, tl.arange(0, 2 * block)
    inside = (asking < frames)[:, None]
    query = tl.load(begin + asking[:, None] * stride + lane[None, :], mask=inside, other=0.0)
    by_content = query + tl.load(content_bias + head * width + lane).to(query.dtype)[None, :]
    by_position = query + tl.load(position_bias + head * width + lane).to(query.dtype)[None, :]
    shift = block - 1 - own[:, None] + own[None, :]
    length = tl.load(lengths + row)
    length = tl.where(first < length, length, 0)
    highest = tl.full([block], -1.0e30, dtype=tl.float32)
    total = tl.zeros([block], dtype=tl.float32)
    mixed = tl.zeros([block, width], dtype=tl.float32)
    for start in range(0, length, block):
        known = start + own < length
        place = begin + (start + own) * stride
        distance = frames - first - block + start + reach
        away = tl.load(
            distances + distance[None, :] * heads * width + head * width + lane[:, None],
            mask=((distance >= 0) & (distance < 2 * frames - 1))[None, :],
            other=0.0,
        )
        key = tl.load(place[None, :] + heads * width + lane[:, None], mask=known[None, :], other=0.0)
        score = tl.gather(tl.dot(by_position, away), shift, 1) + tl.dot(by_content, key)
        score = tl.where(known[None, :], score * scale, -1.0e30)
        higher = tl.maximum(highest, tl.max(score, axis=1))
        shrink = tl.exp2(highest - higher)
        share = tl.exp2(score - higher[:, None])
        total = total * shrink + tl.sum(share, axis=1)
        value = tl.load(place[:, None] + 2 * heads * width + lane[None, :], mask=known[:, None], other=0.0)
        mixed = mixed * shrink[:, None] + tl.dot(share.to(value.dtype), value)
        highest = higher
    mixed = mixed / tl.maximum(total, 1.0e-30)[:, None]
    target = out + (row.to(tl.int64) * frames + asking[:, None]) * heads * width + head * width + lane[None, :]
    tl.store(target, mixed.to(out.dtype.element_ty), mask=inside)


def positioned_attention(
    qkv: torch.Tensor, positioned: PositionedBlock, distances: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Return (rows, frames, heads * width), as `FlowOperations.positioned_attention` says; 16 bits."""
    rows, frames, _ = qkv.shape
    heads, width = positioned.content_bias.shape
    assert all(each.is_contiguous() for each in (qkv, distances, positioned.content_bias, positioned.position_bias))
    assert lengths.dtype == torch.int32
    assert distances.shape == (2 * frames - 1, heads * width)
    out = qkv.new_empty(rows, frames, heads * width)
    _positioned_kernel[(triton.cdiv(frames, BLOCK), rows * heads)](
        qkv,
        distances,
        positioned.content_bias,
        positioned.position_bias,
        lengths,
        out,
        frames,
        LOG2_E / math.sqrt(width),
        heads,
        width,
        BLOCK,
        num_warps=WARPS,
        num_stages=STAGES,
    )
    return out
