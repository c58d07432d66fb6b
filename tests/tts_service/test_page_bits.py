"""Sets of pages as bits: what sets of numbers are, the lowest first."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from tts_service.residency.page_bits import bits_of, numbers

PAGES = st.sets(st.integers(0, 1_500))


@given(pages=PAGES, count=st.integers(0, 40))
def test_lowest_pages_of_a_set_come_first(pages: set[int], count: int) -> None:
    """As many as are asked for, in order, each once."""
    lowest = list(islice(numbers(bits_of(pages)), count))

    assert sorted(pages)[:count] == lowest


@given(some=PAGES, others=PAGES)
def test_bits_of_sets_combine_as_the_sets_do(some: set[int], others: set[int]) -> None:
    """What is in both, in one and not the other, and in either."""
    one, other = bits_of(some), bits_of(others)

    assert [bits_of(some & others), bits_of(some - others), bits_of(some | others)] == [
        one & other,
        one & ~other,
        one | other,
    ]
