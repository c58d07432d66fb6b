"""A Triton kernel for attention over rows of different lengths: no mask is made, and padding costs nothing.

Flash attention takes no mask, and the kernels that do take one that is as large as the scores. Here keys past a row's
length are not read. Equal to `flow_operations.PlainOperations.attention` for the frames within a row's length; the
others get numbers that mean nothing.
"""

import math
from typing import Final

import torch
import triton
import triton.language as tl

LOG2_E: Final = math.log2(math.e)

QUERIES: Final = 64
KEYS: Final = 64
WARPS: Final = 4
STAGES: Final = 3
"""Frames that one program answers, and that it looks at at once."""


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _attention_kernel(  # noqa: PLR0917  # Triton passes arguments by place.
    qkv: tl.tensor,
    lengths: tl.tensor,
    out: tl.tensor,
    frames: tl.tensor,
    scale: tl.tensor,
    heads: tl.constexpr,
    width: tl.constexpr,
    queries: tl.constexpr,
    keys: tl.constexpr,
) -> None:
    """Answer `queries` frames of one head of one row. Softmax runs along as keys are read, to the base of two."""
    row, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    first = tl.program_id(0) * queries
    stride = 3 * heads * width
    begin = qkv + row.to(tl.int64) * frames * stride + head * width
    asking, lane = first + tl.arange(0, queries), tl.arange(0, width)
    inside = (asking < frames)[:, None]
    query = tl.load(begin + asking[:, None] * stride + lane[None, :], mask=inside, other=0.0)
    length = tl.load(lengths + row)
    length = tl.where(first < length, length, 0)
    highest = tl.full([queries], -1.0e30, dtype=tl.float32)
    total = tl.zeros([queries], dtype=tl.float32)
    mixed = tl.zeros([queries, width], dtype=tl.float32)
    for start in range(0, length, keys):
        asked = start + tl.arange(0, keys)
        known = asked < length
        place = begin + asked * stride
        key = tl.load(place[None, :] + heads * width + lane[:, None], mask=known[None, :], other=0.0)
        score = tl.dot(query, key) * scale
        score = tl.where(known[None, :], score, -1.0e30)
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


def attention(
    qkv: torch.Tensor,
    heads: int,
    lengths: torch.Tensor,
    *,
    queries: int = QUERIES,
    keys: int = KEYS,
    warps: int = WARPS,
    stages: int = STAGES,
) -> torch.Tensor:
    """Return (rows, frames, heads * width) from (rows, frames, 3 * heads * width); `lengths` (rows,), int32."""
    rows, frames, channels = qkv.shape
    width = channels // (3 * heads)
    assert qkv.is_contiguous()
    assert lengths.dtype == torch.int32
    out = qkv.new_empty(rows, frames, heads * width)
    _attention_kernel[(triton.cdiv(frames, queries), rows * heads)](
        qkv,
        lengths,
        out,
        frames,
        LOG2_E / math.sqrt(width),
        heads,
        width,
        queries,
        keys,
        num_warps=warps,
        num_stages=stages,
    )
    return out
