"""How many tokens a decode waits for: few at first, so that speech begins at once, then more, so that it is cheap.

A decode costs about the same whether it brings 5 tokens or 50, because the prompt dominates.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSchedule:
    """The first decode waits for `first_tokens`, each later one for `growth` times as many new ones, up to a cap.

    The first is as long as something to hear needs: 24 tokens are 42 frames, of which 8 are held back and 9 the
    vocoder's look-ahead, and of the 0.5 s that are left the watermark looks 0.19 s ahead. With 14, as the vocoder alone
    would have it, nothing was heard before the second decode. `next_tokens` is what the second waits for; 50 tokens are
    2 s. A chunk after the first waits for `tail_tokens` besides: if the segment ends within them they are a part of it,
    since by themselves they would cost as much as all before them.
    """

    first_tokens: int = 24
    next_tokens: int = 12
    growth: float = 1.5
    max_tokens: int = 50
    tail_tokens: int = 0

    def __post_init__(self) -> None:
        assert self.first_tokens >= 1
        assert 1 <= self.next_tokens <= self.max_tokens
        assert self.growth >= 1.0
        assert self.tail_tokens >= 0


def chunk_tokens(schedule: ChunkSchedule, decodes: int) -> int:
    """Return how many new tokens the next decode of an utterance waits for, after this many."""
    if decodes == 0:
        return schedule.first_tokens
    # Past this power every factor is at the cap, and floats stay small whatever the utterance's length.
    grown = schedule.next_tokens * schedule.growth ** min(decodes - 1, 64)
    return min(schedule.max_tokens, int(grown))


def tail_tokens(schedule: ChunkSchedule, decodes: int) -> int:
    """Return how many tokens more than it has the next chunk waits for, after this many decodes of an utterance."""
    return schedule.tail_tokens if decodes else 0
