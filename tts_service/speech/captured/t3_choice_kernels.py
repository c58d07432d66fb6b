"""Kernels that choose tokens: guidance to state in two launches, and a third where an order of tokens is asked for."""

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _mixed(
    words: tl.tensor,
    mix_1: tl.constexpr,
    mix_2: tl.constexpr,
) -> tl.tensor:
    """`random_source`'s hash of int64 words: shifts bring in zeros, products wrap around."""
    words = (words ^ ((words >> 30) & 0x3FFFFFFFF)) * mix_1
    words = (words ^ ((words >> 27) & 0x1FFFFFFFFF)) * mix_2
    return words ^ ((words >> 31) & 0x1FFFFFFFF)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _penalised(value: tl.tensor, spoken: tl.tensor, penalty: tl.tensor) -> tl.tensor:
    """Make what was spoken less likely."""
    return tl.where(spoken, tl.where(value < 0, value * penalty, value / penalty), value)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _noise(words: tl.tensor, mix_1: tl.constexpr, mix_2: tl.constexpr) -> tl.tensor:
    """`random_source`'s Gumbel noise of int64 words."""
    uniform = (((_mixed(words, mix_1, mix_2) >> 12) & 0xFFFFFFFFFFFFF).to(tl.float64) + 0.5) * 2.220446049250313e-16
    return -tl.log(-tl.log(uniform)).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def weigh(  # noqa: PLR0917  # A launch's arguments.
    logits: tl.tensor,
    rows: tl.tensor,
    numbers: tl.tensor,
    settings: tl.tensor,
    said: tl.tensor,
    rules: tl.tensor,
    partners: tl.tensor,
    weighed: tl.tensor,
    noisy: tl.tensor,
    ranked: tl.tensor,
    peaks: tl.tensor,
    vocabulary: tl.tensor,
    chunks: tl.tensor,
    stop_token: tl.tensor,
    golden: tl.constexpr,
    mix_1: tl.constexpr,
    mix_2: tl.constexpr,
    choice_bits: tl.constexpr,
    penalty_last: tl.constexpr,
    is_guarded: tl.constexpr,
    ruled: tl.constexpr,
    ordered: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Guide, penalise and temper a chunk of one slot's tokens; write them, them with noise, and the highest of them.

    `ordered`: what is ordered as well, which is not penalised yet where `penalty_last`. Infinity stands for the
    highest of a chunk with something that is no number.
    """
    place, chunk = tl.program_id(0), tl.program_id(1)
    slot = tl.load(rows + place) // 2
    at = chunk * block + tl.arange(0, block)
    held = at < vocabulary
    own = tl.load(logits + place * vocabulary + at, mask=held, other=0.0)
    other = tl.load(logits + tl.load(partners + place) * vocabulary + at, mask=held, other=0.0)
    temperature, penalty = tl.load(settings + slot * 6), tl.load(settings + slot * 6 + 4)
    value = own + tl.load(settings + slot * 6 + 5) * (own - other)
    if is_guarded:
        rule = tl.load(rules + slot)
        is_stop = at == stop_token
        value = tl.where((rule == 1) & is_stop, -ruled, value)
        value = tl.where(rule == 2, tl.where(is_stop, ruled, -ruled), value)  # noqa: PLR2004  # `Rule`.
    spoken = tl.load(said + slot * vocabulary + at, mask=held, other=0) != 0
    if penalty_last:
        tempered = value / temperature
        value = _penalised(tempered, spoken, penalty)
    else:
        value = _penalised(value, spoken, penalty) / temperature
        tempered = value
    if ordered:
        tl.store(ranked + place * vocabulary + at, tempered, mask=held)
    key, step = tl.load(numbers + slot * 4 + 3), tl.load(numbers + slot * 4 + 1)
    noise = _noise((at.to(tl.int64) + (step << choice_bits)) * golden + key, mix_1, mix_2)
    tl.store(weighed + place * vocabulary + at, value, mask=held)
    tl.store(noisy + place * vocabulary + at, value + noise, mask=held)
    wrong = tl.sum((held & (value != value)).to(tl.int32), 0)  # noqa: PLR0124  # Finds what is no number.
    peak = tl.max(tl.where(held, value, -float("inf")), 0)
    tl.store(peaks + place * chunks + chunk, tl.where(wrong > 0, float("inf"), peak))


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _height(value: tl.tensor) -> tl.tensor:
    """Return whole numbers from 0 to 2**32 in the order of float32 values."""
    bits = value.to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64) + 0x80000000


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def keep(  # noqa: PLR0917  # A launch's arguments.
    rows: tl.tensor,
    settings: tl.tensor,
    ranked: tl.tensor,
    noisy: tl.tensor,
    vocabulary: tl.tensor,
    block: tl.constexpr,
) -> None:
    """Leave one slot's tokens without the unlikely ones, all but the `top_k` highest, and the last ones beyond `top_p`.

    Nothing is sorted: each limit is found bit by bit, by counting what is above it, or adding up what is not.
    """
    place = tl.program_id(0)
    slot = tl.load(rows + place) // 2
    top_p, min_p = tl.load(settings + slot * 6 + 1), tl.load(settings + slot * 6 + 2)
    top_k = tl.load(settings + slot * 6 + 3)
    at = tl.arange(0, block)
    held = at < vocabulary
    value = tl.load(ranked + place * vocabulary + at, mask=held, other=-float("inf"))
    peak = tl.max(value, 0)
    kept = held & (tl.exp(value - peak) >= min_p)
    height = _height(tl.where(kept, value, -float("inf")))
    least = tl.zeros([], tl.int64)
    for turn in range(32):
        higher = least + (tl.full([], 0x80000000, tl.int64) >> turn)
        least = tl.where(tl.sum((height >= higher).to(tl.int32), 0) >= top_k, higher, least)
    kept = kept & (height >= tl.where(top_k > 0, least, 0))
    odds = tl.where(kept, tl.exp(value - peak), 0.0)
    spare = (1 - top_p) * tl.sum(odds, 0)
    most = tl.zeros([], tl.int64)
    for turn in range(32):
        higher = most + (tl.full([], 0x80000000, tl.int64) >> turn)
        most = tl.where(tl.sum(tl.where(height <= higher, odds, 0.0), 0) <= spare, higher, most)
    kept = kept & ((height > tl.where(top_p < 1, most, -1)) | (value == peak))
    tl.store(noisy + place * vocabulary + at, -float("inf"), mask=held & ~kept)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def pick(  # noqa: PLR0917  # A launch's arguments.
    rows: tl.tensor,
    numbers: tl.tensor,
    settings: tl.tensor,
    said: tl.tensor,
    rules: tl.tensor,
    weighed: tl.tensor,
    noisy: tl.tensor,
    peaks: tl.tensor,
    burst: tl.tensor,
    vocabulary: tl.tensor,
    chunks: tl.tensor,
    nobodys: tl.tensor,
    start_token: tl.tensor,
    forgets: tl.constexpr,
    is_guarded: tl.constexpr,
    forced_mark: tl.constexpr,
    burst_tokens: tl.constexpr,
    block: tl.constexpr,
    chunk_block: tl.constexpr,
) -> None:
    """Choose one slot's token, the highest with noise among those likely enough; write all that follows from it."""
    place = tl.program_id(0)
    slot = tl.load(rows + place) // 2
    chunk = tl.arange(0, chunk_block)
    peak = tl.max(tl.load(peaks + place * chunks + chunk, mask=chunk < chunks, other=-float("inf")), 0)
    sound = (peak < float("inf")) & (peak > -float("inf"))
    at = tl.arange(0, block)
    held = at < vocabulary
    value = tl.load(weighed + place * vocabulary + at, mask=held, other=-float("inf"))
    likely = held & (tl.exp(value - peak) >= tl.load(settings + slot * 6 + 2))
    chances = tl.load(noisy + place * vocabulary + at, mask=held, other=-float("inf"))
    token = tl.argmax(tl.where(likely, chances, -float("inf")), 0)
    token = tl.where(sound, token, 0)
    own = numbers + slot * 4
    position, step = tl.load(own), tl.load(own + 1)
    if forgets:
        tl.store(said + slot * vocabulary + start_token, 0, mask=(step == 0) & (token != start_token))
    tl.store(said + slot * vocabulary + token, 1)
    onward = (slot != nobodys).to(tl.int64)
    tl.store(own, position + onward)
    tl.store(own + 1, step + onward)
    tl.store(own + 2, token.to(tl.int64))
    marked = token
    if is_guarded:
        marked += tl.where(tl.load(rules + slot) == 2, forced_mark, 0)  # noqa: PLR2004  # `Rule`.
    tl.store(burst + slot * burst_tokens + step % burst_tokens, tl.where(sound, marked, -1))
