"""Kernels of Multilingual's alignment guard: what the watched heads see of the text, and what follows from it."""

import triton
import triton.language as tl

from tts_service.speech.captured.t3_attention_kernels import turned_head


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def watch(  # noqa: PLR0917  # A launch's arguments.
    queries: tl.tensor,
    rotation: tl.tensor,
    rows: tl.tensor,
    numbers: tl.tensor,
    tables: tl.tensor,
    pages: tl.tensor,
    followed: tl.tensor,
    scores: tl.tensor,
    peaks: tl.tensor,
    totals: tl.tensor,
    slots: tl.tensor,
    table_pages: tl.tensor,
    page_stride: tl.tensor,
    start_0: tl.tensor,
    start_1: tl.tensor,
    start_2: tl.tensor,
    scale: tl.tensor,
    width: tl.tensor,
    followed_columns: tl.constexpr,
    head_channels: tl.constexpr,
    page_positions: tl.constexpr,
    block: tl.constexpr,
    rotated: tl.constexpr,
) -> None:
    """Score one slot's text by one of three heads, and find the peak and the total of odds over all its positions.

    `start_...` is where the head's keys begin in a page; `scale` is for powers of two.
    """
    line, which = tl.program_id(0), tl.program_id(1)
    row = tl.load(rows + line)
    position = tl.load(numbers + (row // 2) * 4).to(tl.int32)
    span = followed + (row // 2) * followed_columns
    begin_text, end_text = tl.load(span).to(tl.int32), tl.load(span + 1).to(tl.int32)
    start = tl.where(which == 0, start_0, tl.where(which == 1, start_1, start_2))
    vector = queries + (which * slots + line) * head_channels
    query = turned_head(vector, rotation + line * head_channels, head_channels, rotated) * scale
    at, spots = tl.arange(0, head_channels), tl.arange(0, block)
    peak, total = tl.full([], -1.0e30, tl.float32), tl.full([], 0.0, tl.float32)
    for begin in range(0, position + 1, block):
        place = begin + spots
        page = tl.load(tables + row * table_pages + place // page_positions, mask=place <= position, other=-1)
        held = page >= 0
        lies = page[:, None].to(tl.int64) * page_stride + ((place % page_positions) * head_channels)[:, None]
        keys = tl.load(pages + start + lies + at[None, :], mask=held[:, None], other=0.0).to(tl.float32)
        score = tl.where(held, tl.sum(keys * query[None, :], 1), -1.0e30)
        text = place - begin_text
        is_text = (place >= begin_text) & (place < end_text) & (text < width)
        tl.store(scores + (line * 3 + which) * width + text, score, mask=is_text)
        higher = tl.maximum(peak, tl.max(score, 0))
        total = total * tl.exp2(peak - higher) + tl.sum(tl.where(held, tl.exp2(score - higher), 0.0), 0)
        peak = higher
    tl.store(peaks + line * 3 + which, peak)
    tl.store(totals + line * 3 + which, total)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def follow(  # noqa: PLR0917  # A launch's arguments.
    rows: tl.tensor,
    numbers: tl.tensor,
    followed: tl.tensor,
    rules: tl.tensor,
    scores: tl.tensor,
    peaks: tl.tensor,
    totals: tl.tensor,
    width: tl.tensor,
    followed_columns: tl.constexpr,
    backward: tl.constexpr,
    forward: tl.constexpr,
    tail_tokens: tl.constexpr,
    recent_tokens: tl.constexpr,
    max_tail: tl.constexpr,
    max_repetition: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Remember and decide for one slot; `block` is `width`, rounded up to a power of two."""
    line = tl.program_id(0)
    slot = tl.load(rows + line) // 2
    own = followed + slot * followed_columns
    count = (tl.load(own + 1) - tl.load(own)).to(tl.int32)
    step, last = tl.load(numbers + slot * 4 + 1), tl.load(numbers + slot * 4 + 2)
    at = tl.arange(0, block)
    held = (at < count) & (at <= step) & (at < width)
    aligned = tl.zeros([block], tl.float32)
    for which in tl.static_range(3):
        score = tl.load(scores + (line * 3 + which) * width + at, mask=held, other=-1.0e30)
        odds = tl.exp2(score - tl.load(peaks + line * 3 + which)) / tl.load(totals + line * 3 + which)
        aligned += tl.where(held, odds, 0.0)
    aligned = aligned / 3
    seen = tl.argmax(aligned, 0)
    before, complete = tl.load(own + 2).to(tl.int32), tl.load(own + 3)
    moved = (seen - before > -backward) & (seen - before < forward)
    position = tl.where(moved, seen, before)
    earlier = tl.load(own + 4)
    more = tl.max(tl.where(at < count - recent_tokens, aligned, 0.0), 0).to(tl.float64)
    earlier = tl.where(complete > 0, earlier + more, earlier)
    repeated = (step > 1) & (last == tl.load(own + 5).to(tl.int64))
    forced = repeated | (earlier > max_repetition)
    for token in tl.static_range(tail_tokens):
        tail = tl.load(own + 6 + token)
        here = tl.sum(tl.where(at == count - tail_tokens + token, aligned, 0.0), 0).to(tl.float64)
        tail = tl.where(complete > 0, tail + here, tail)
        tl.store(own + 6 + token, tail)
        forced = forced | (tail >= max_tail)
    suppressed = (seen < count - tail_tokens) & (count > recent_tokens)
    tl.store(own + 2, position.to(tl.float64))
    tl.store(own + 3, tl.where(position >= count - tail_tokens, 1.0, complete))
    tl.store(own + 4, earlier)
    tl.store(own + 5, last.to(tl.float64))
    tl.store(rules + slot, tl.where(forced, 2, tl.where(suppressed, 1, 0)))
