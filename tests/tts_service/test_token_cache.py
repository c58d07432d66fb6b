"""The keys and values of a segment: everything written is there, in order, whatever the memory's blocks."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_service.speech.token_cache import BLOCK_POSITIONS, KeyValueCache


@settings(deadline=None, max_examples=20)
@given(first=st.integers(1, 2 * BLOCK_POSITIONS), later=st.integers(0, 20))
def test_cache_holds_all_that_was_written_in_order(first: int, later: int) -> None:
    """Keys and values of every layer are what was written, across the border of a block too."""
    cache = KeyValueCache()
    written: list[list[torch.Tensor]] = [[], []]
    for count in (first, *[1] * later):
        for layer in range(2):
            new = torch.randn(2, 3, count, 4)
            written[layer].append(new)
            keys, values = cache.extended(layer, new, -new)

            assert torch.equal(torch.cat(written[layer], dim=2), keys)
            assert torch.equal(-keys, values)
        cache.advance(count)

    assert first + later == cache.positions


def test_position_that_was_not_kept_is_written_again() -> None:
    """A step that failed leaves no trace: the next one writes over it."""
    cache = KeyValueCache()
    cache.extended(0, torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3, 2))
    cache.advance(3)
    cache.extended(0, torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2))
    keys, _ = cache.extended(0, torch.full((1, 1, 1, 2), 2.0), torch.zeros(1, 1, 1, 2))

    assert [0.0, 0.0, 0.0, 2.0] == keys[0, 0, :, 0].tolist()


def test_memory_grows_by_whole_blocks() -> None:
    """What is held is a multiple of a block, so that few tokens do not mean many allocations."""
    cache = KeyValueCache()
    cache.extended(0, torch.zeros(1, 1, BLOCK_POSITIONS + 1, 1), torch.zeros(1, 1, BLOCK_POSITIONS + 1, 1))

    assert 2 * BLOCK_POSITIONS * 2 * 4 == cache.bytes
