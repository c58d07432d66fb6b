"""A product of very few lines with a large matrix, which reads each weight once.

Everything around the product is done where its numbers are: the norm before it, the activation or the sum after it.

With so few lines a product takes as long as reading its matrix. A program takes some of the matrix' rows whole, and
begins to read them before it looks at the lines.
"""

import triton
import triton.language as tl

from tts_service.speech.captured.t3_chain_kernels import await_last, begin_next
from tts_service.speech.captured.t3_row_kernels import gelu


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _normed(  # noqa: PLR0917  # A launch's arguments.
    lines: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    at: tl.tensor,
    inputs: tl.tensor,
    epsilon: tl.tensor,
    centred: tl.constexpr,
) -> tl.tensor:
    """Norm lines (lines, inputs), zeros beyond the inputs."""
    held = at < inputs
    if centred:
        lines = tl.where(held[None, :], lines - (tl.sum(lines, 1) / inputs)[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(lines * lines, 1) / inputs + epsilon)
    lines = lines * scale[:, None] * tl.load(weight + at, mask=held, other=0.0).to(tl.float32)[None, :]
    if centred:
        lines += tl.load(bias + at, mask=held, other=0.0).to(tl.float32)[None, :]
    return lines


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _joined(  # noqa: PLR0917  # A launch's arguments.
    seen: tl.tensor,
    peaks: tl.tensor,
    totals: tl.tensor,
    line: tl.tensor,
    at: tl.tensor,
    inputs: tl.tensor,
    held: tl.tensor,
    head_channels: tl.constexpr,
    splits: tl.constexpr,
) -> tl.tensor:
    """Return what lines have seen (lines, inputs), from the parts that `attend` left."""
    heads = inputs // head_channels
    part = (line[:, None] * heads + (at // head_channels)[None, :]) * splits
    peak = tl.load(peaks + part, mask=held, other=0.0)
    for split in tl.static_range(1, splits):
        peak = tl.maximum(peak, tl.load(peaks + part + split, mask=held, other=0.0))
    total = tl.zeros_like(peak)
    whole = tl.zeros_like(peak)
    for split in tl.static_range(splits):
        share = tl.exp2(tl.load(peaks + part + split, mask=held, other=0.0) - peak)
        total += share * tl.load(totals + part + split, mask=held, other=1.0)
        whole += share * tl.load(seen + (line[:, None] * splits + split) * inputs + at[None, :], mask=held, other=0.0)
    return whole / total


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _multiplied(
    matrix: tl.tensor,
    lines: tl.tensor,
) -> tl.tensor:
    """Return the product (lines, outputs) of lines (lines, inputs) and a matrix (outputs, inputs)."""
    return tl.sum(matrix.to(tl.float32)[None, :, :] * lines[:, None, :], 2)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def multiply(  # noqa: PLR0917  # A launch's arguments.
    lines: tl.tensor,
    peaks: tl.tensor,
    totals: tl.tensor,
    matrix: tl.tensor,
    bias: tl.tensor,
    norm_weight: tl.tensor,
    norm_bias: tl.tensor,
    out: tl.tensor,
    line_count: tl.tensor,
    inputs: tl.tensor,
    outputs: tl.tensor,
    row_stride: tl.tensor,
    column_stride: tl.tensor,
    epsilon: tl.tensor,
    line_block: tl.constexpr,
    input_block: tl.constexpr,
    block: tl.constexpr,
    norm: tl.constexpr,
    splits: tl.constexpr,
    head_channels: tl.constexpr,
    biased: tl.constexpr,
    activation: tl.constexpr,
    adds: tl.constexpr,
    early: tl.constexpr,
) -> None:
    """Make `block` outputs of all lines.

    `norm`: 0 none, 1 without the mean, 2 with it. `splits`: 0 for plain lines. `activation`: 0 none, 1 gated, 2 gelu.
    `adds`: to what is there. `early`: weights, which nobody writes, are read while the kernel ahead still computes.
    """
    begin_next(early)
    at = tl.arange(0, input_block)
    row = tl.program_id(0) * block + tl.arange(0, block)
    where = matrix + row[:, None] * row_stride + at[None, :] * column_stride
    read = (row < outputs)[:, None] & (at < inputs)[None, :]
    weights = tl.load(where, mask=read, other=0.0)
    if activation == 1:
        values = tl.load(where + outputs * row_stride, mask=read, other=0.0)
    await_last(early)
    line = tl.arange(0, line_block)
    held = (line < line_count)[:, None] & (at < inputs)[None, :]
    if splits > 0:
        taken = _joined(lines, peaks, totals, line, at, inputs, held, head_channels, splits)
    else:
        taken = tl.load(lines + line[:, None] * inputs + at[None, :], mask=held, other=0.0).to(tl.float32)
    if norm > 0:
        taken = _normed(taken, norm_weight, norm_bias, at, inputs, epsilon, norm == 2)  # noqa: PLR2004  # As said above.
    made = _multiplied(weights, taken)
    if biased:
        made += tl.load(bias + row, mask=row < outputs, other=0.0).to(tl.float32)[None, :]
    if activation == 1:
        made = made * tl.sigmoid(made) * _multiplied(values, taken)
    if activation == 2:  # noqa: PLR2004  # As said above.
        made = gelu(made)
    target = out + line[:, None] * outputs + row[None, :]
    kept = (line < line_count)[:, None] & (row < outputs)[None, :]
    if adds:
        made += tl.load(target, mask=kept, other=0.0)
    tl.store(target, made.to(out.dtype.element_ty), mask=kept)
