"""Sets of pages as the bits of one integer, of which the lowest are found without looking at the others. Pure."""

from collections.abc import Iterable, Iterator


def bits_of(pages: Iterable[int]) -> int:
    """Return the set of these pages."""
    bits = 0
    for page in pages:
        bits |= 1 << page
    return bits


def numbers(bits: int) -> Iterator[int]:
    """Yield the pages of a set, the lowest first: as much work as there are pages asked for."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest
