"""Kernels over a pass's lines: embeddings of last tokens, a sum with its norm, an activation.

Written in Triton's dialect: a function is compiled for the values of its `tl.constexpr` arguments, and runs once for
each place of a grid.
"""

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def embed(  # noqa: PLR0917  # A launch's arguments.
    rows: tl.tensor,
    numbers: tl.tensor,
    speech: tl.tensor,
    places: tl.tensor,
    frequencies: tl.tensor,
    out: tl.tensor,
    rotation: tl.tensor,
    channels: tl.tensor,
    place_count: tl.tensor,
    half: tl.constexpr,
    block: tl.constexpr,
    by_position: tl.constexpr,
    rotated: tl.constexpr,
) -> None:
    """Look up one line's last token and place, and the rotation of its position."""
    line = tl.program_id(0)
    own = numbers + (tl.load(rows + line) // 2) * 4
    position, step, last = tl.load(own), tl.load(own + 1), tl.load(own + 2)
    place = tl.minimum(position if by_position else step, place_count - 1)
    at = tl.arange(0, block)
    token = tl.load(speech + last * channels + at, mask=at < channels, other=0.0).to(tl.float32)
    added = tl.load(places + place * channels + at, mask=at < channels, other=0.0).to(tl.float32)
    tl.store(out + line * channels + at, token + added, mask=at < channels)
    if rotated:
        pair = tl.arange(0, half)
        angles = position.to(tl.float32) * tl.load(frequencies + pair)
        tl.store(rotation + line * 2 * half + pair, tl.cos(angles))
        tl.store(rotation + line * 2 * half + half + pair, tl.sin(angles))


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def add_norm(  # noqa: PLR0917  # A launch's arguments.
    total: tl.tensor,
    pending: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    channels: tl.tensor,
    epsilon: tl.tensor,
    block: tl.constexpr,
    adds: tl.constexpr,
    centred: tl.constexpr,
) -> None:
    """Add what is pending to one line's sum, and norm it."""
    line = tl.program_id(0)
    at = tl.arange(0, block)
    held = at < channels
    values = tl.load(total + line * channels + at, mask=held, other=0.0)
    if adds:
        values += tl.load(pending + line * channels + at, mask=held, other=0.0).to(tl.float32)
        tl.store(total + line * channels + at, values, mask=held)
    if centred:
        values = tl.where(held, values - tl.sum(values, 0) / channels, 0.0)
    values = values * tl.rsqrt(tl.sum(values * values, 0) / channels + epsilon)
    values = values * tl.load(weight + at, mask=held, other=0.0).to(tl.float32)
    if centred:
        values += tl.load(bias + at, mask=held, other=0.0).to(tl.float32)
    tl.store(out + line * channels + at, values.to(out.dtype.element_ty), mask=held)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def gelu(values: tl.tensor) -> tl.tensor:
    """Return gelu by its approximation with tanh."""
    return values * tl.sigmoid(2 * 0.7978845608028654 * (values + 0.044715 * values * values * values))


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def activate(
    inner: tl.tensor,
    out: tl.tensor,
    channels: tl.tensor,
    block: tl.constexpr,
    gated: tl.constexpr,
) -> None:
    """Activate a piece of one line: gates' SiLU times values, or gelu by its approximation with tanh."""
    line = tl.program_id(0)
    at = tl.program_id(1) * block + tl.arange(0, block)
    held = at < channels
    own = inner + line * channels * (2 if gated else 1) + at
    value = tl.load(own, mask=held, other=0.0).to(tl.float32)
    if gated:
        value = value * tl.sigmoid(value) * tl.load(own + channels, mask=held, other=0.0).to(tl.float32)
    else:
        value = gelu(value)
    tl.store(out + line * channels + at, value.to(out.dtype.element_ty), mask=held)
