"""Attention over pages of keys and values: of one new position a row, in shares; and the writing of a whole prompt's.

The new position's key and value are rotated, written and seen at once: nobody waits for what somebody else writes.
"""

import triton
import triton.language as tl

from tts_service.speech.captured.t3_chain_kernels import take_turn


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def turned_head(
    vector: tl.tensor,
    rotation: tl.tensor,
    head_channels: tl.constexpr,
    rotated: tl.constexpr,
) -> tl.tensor:
    """Return a head's channels (head channels,), each pair half a head apart turned by the line's angles."""
    at = tl.arange(0, head_channels)
    values = tl.load(vector + at).to(tl.float32)
    if rotated:
        half: tl.constexpr = head_channels // 2
        other = tl.load(vector + (at + half) % head_channels).to(tl.float32)
        cosine, sine = tl.load(rotation + at % half), tl.load(rotation + half + at % half)
        values = values * cosine + tl.where(at < half, -other, other) * sine
    return values


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _keep(
    key_lies: tl.tensor,
    value_lies: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    page: tl.tensor,
) -> None:
    """Write a key and a value to their places, if there is a page."""
    at = tl.arange(0, key.shape[0])
    tl.store(key_lies + at, key.to(key_lies.dtype.element_ty), mask=(at >= 0) & (page >= 0))
    tl.store(value_lies + at, value.to(value_lies.dtype.element_ty), mask=(at >= 0) & (page >= 0))


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _with(  # noqa: PLR0917  # What is in registers.
    peak: tl.tensor,
    total: tl.tensor,
    summed: tl.tensor,
    scores: tl.tensor,
    held: tl.tensor,
    values: tl.tensor,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return the peak, the total and the sum with some more positions."""
    higher = tl.maximum(peak, tl.max(scores, 0))
    odds = tl.where(held, tl.exp2(scores - higher), 0.0)
    fall = tl.exp2(peak - higher)
    return higher, total * fall + tl.sum(odds, 0), summed * fall + tl.sum(odds[:, None] * values, 0)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _leave(  # noqa: PLR0917  # What is in registers.
    seen: tl.tensor,
    peaks: tl.tensor,
    totals: tl.tensor,
    summed: tl.tensor,
    peak: tl.tensor,
    total: tl.tensor,
    heads: tl.constexpr,
    head_channels: tl.constexpr,
    splits: tl.constexpr,
) -> None:
    """Write a share, or the result where there is but one."""
    line, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    at = tl.arange(0, head_channels)
    if splits == 1:
        tl.store(seen + (line * heads + head) * head_channels + at, (summed / total).to(seen.dtype.element_ty))
    else:
        tl.store(seen + ((line * splits + split) * heads + head) * head_channels + at, summed)
        tl.store(peaks + (line * heads + head) * splits + split, peak)
        tl.store(totals + (line * heads + head) * splits + split, total)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def attend(  # noqa: PLR0917  # A launch's arguments.
    projected: tl.tensor,
    rotation: tl.tensor,
    rows: tl.tensor,
    numbers: tl.tensor,
    tables: tl.tensor,
    pages: tl.tensor,
    seen: tl.tensor,
    peaks: tl.tensor,
    totals: tl.tensor,
    table_pages: tl.tensor,
    page_stride: tl.tensor,
    layer_start: tl.tensor,
    scale: tl.tensor,
    heads: tl.constexpr,
    head_channels: tl.constexpr,
    page_positions: tl.constexpr,
    block: tl.constexpr,
    splits: tl.constexpr,
    rotated: tl.constexpr,
    early: tl.constexpr,
) -> None:
    """Attend with one row's head to one share of its positions, `block` at a time; `scale` is for powers of two.

    With one share, `seen` is the result. With several, it is a sum, `totals` of weights over 2**`peaks`.
    """
    take_turn(early)
    line, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    row = tl.load(rows + line)
    position, table = tl.load(numbers + (row // 2) * 4).to(tl.int32), tables + row * table_pages
    share = tl.cdiv(position // block + 1, splits) * block
    first, last = split * share, tl.minimum((split + 1) * share, position)
    at, spots = tl.arange(0, head_channels), tl.arange(0, block)
    vectors = projected + line * 3 * heads * head_channels + head * head_channels
    turns = rotation + line * head_channels
    query = turned_head(vectors, turns, head_channels, rotated) * scale
    peak, total = tl.full([], -1.0e30, tl.float32), tl.full([], 0.0, tl.float32)
    summed = tl.zeros([head_channels], tl.float32)
    start = pages + layer_start + head * page_positions * head_channels
    for begin in range(first, last, block):
        place = begin + spots
        page = tl.load(table + place // page_positions, mask=place < last, other=-1)
        held = page >= 0
        inside = start + ((place % page_positions) * head_channels)[:, None] + at[None, :]
        lies = inside + page[:, None].to(tl.int64) * page_stride
        keys = tl.load(lies, mask=held[:, None], other=0.0).to(tl.float32)
        values = tl.load(lies + heads * page_positions * head_channels, mask=held[:, None], other=0.0).to(tl.float32)
        scores = tl.where(held, tl.sum(keys * query[None, :], 1), -1.0e30)
        peak, total, summed = _with(peak, total, summed, scores, held, values)
    if (first <= position) & (position < first + share):
        key = turned_head(vectors + heads * head_channels, turns, head_channels, rotated)
        value = tl.load(vectors + 2 * heads * head_channels + at).to(tl.float32)
        score = tl.sum(query * key, 0)
        higher = tl.maximum(peak, score)
        fall, odds = tl.exp2(peak - higher), tl.exp2(score - higher)
        peak, total, summed = higher, total * fall + odds, summed * fall + odds * value
        page = tl.load(table + position // page_positions).to(tl.int64)
        lies = start + page * page_stride + (position % page_positions) * head_channels
        _keep(lies, lies + heads * page_positions * head_channels, key, value, page)
    _leave(seen, peaks, totals, summed, peak, total, heads, head_channels, splits)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def join(  # noqa: PLR0917  # A launch's arguments.
    seen: tl.tensor,
    peaks: tl.tensor,
    totals: tl.tensor,
    out: tl.tensor,
    heads: tl.constexpr,
    head_channels: tl.constexpr,
    splits: tl.constexpr,
    early: tl.constexpr,
) -> None:
    """Join one row's head from all its shares; splits is a power of two."""
    take_turn(early)
    line, head = tl.program_id(0), tl.program_id(1)
    at, split = tl.arange(0, head_channels), tl.arange(0, splits)
    part = (line * heads + head) * splits + split
    peak = tl.load(peaks + part)
    share = tl.exp2(peak - tl.max(peak, 0))
    total = tl.sum(share * tl.load(totals + part), 0)
    parts = tl.load(seen + ((line * splits + split) * heads + head)[:, None] * head_channels + at[None, :])
    whole = tl.sum(parts * share[:, None], 0) / total
    tl.store(out + (line * heads + head) * head_channels + at, whole.to(out.dtype.element_ty))


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def place_prompt(  # noqa: PLR0917  # A launch's arguments.
    projected: tl.tensor,
    frequencies: tl.tensor,
    rows: tl.tensor,
    numbers: tl.tensor,
    tables: tl.tensor,
    pages: tl.tensor,
    count: tl.tensor,
    table_pages: tl.tensor,
    page_stride: tl.tensor,
    layer_start: tl.tensor,
    heads: tl.constexpr,
    head_channels: tl.constexpr,
    page_positions: tl.constexpr,
    block: tl.constexpr,
    rotated: tl.constexpr,
) -> None:
    """Rotate one position's queries and keys in place, and write its keys and values into the row's page.

    `block` is `heads`, rounded up to a power of two.
    """
    line = tl.program_id(0)
    row = tl.load(rows + line // count)
    place = line % count
    half: tl.constexpr = head_channels // 2
    head, at = tl.arange(0, block), tl.arange(0, half)
    own = (head < heads)[:, None] & (at < half)[None, :]
    lows = head[:, None] * head_channels + at[None, :]
    queries = projected + line.to(tl.int64) * 3 * heads * head_channels + lows
    keys, values = queries + heads * head_channels, queries + 2 * heads * head_channels
    low, high = tl.load(keys, mask=own, other=0.0), tl.load(keys + half, mask=own, other=0.0)
    if rotated:
        angles = place.to(tl.float32) * tl.load(frequencies + at)
        cosine, sine = tl.cos(angles)[None, :], tl.sin(angles)[None, :]
        left, right = tl.load(queries, mask=own, other=0.0), tl.load(queries + half, mask=own, other=0.0)
        kind = projected.dtype.element_ty
        tl.store(queries, (left * cosine - right * sine).to(kind), mask=own)
        tl.store(queries + half, (right * cosine + left * sine).to(kind), mask=own)
        low, high = (low * cosine - high * sine).to(kind), (high * cosine + low * sine).to(kind)
        tl.store(keys, low, mask=own)
        tl.store(keys + half, high, mask=own)
    length = tl.load(numbers + (row // 2) * 4) + 1
    page = tl.load(tables + row * table_pages + place // page_positions, mask=place < length, other=-1)
    lies = pages + page.to(tl.int64) * page_stride + layer_start + (place % page_positions) * head_channels
    lies = lies + head[:, None] * page_positions * head_channels + at[None, :]
    written = own & (page >= 0)
    tl.store(lies, low, mask=written)
    tl.store(lies + half, high, mask=written)
    lies += heads * page_positions * head_channels
    tl.store(lies, tl.load(values, mask=own, other=0.0), mask=written)
    tl.store(lies + half, tl.load(values + half, mask=own, other=0.0), mask=written)
