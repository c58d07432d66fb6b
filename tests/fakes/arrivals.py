"""Ways in which text and audio may arrive: cut into pieces at any places."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, Self, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

SliceT = TypeVar("SliceT", bound="Sliceable")


class Sliceable(Protocol):
    """A text, an array or bytes."""

    def __len__(self) -> int:
        """Return the length."""
        ...

    def __getitem__(self, places: slice, /) -> Self:
        """Return a part."""
        ...


def in_pieces(whole: SliceT, size: int) -> list[SliceT]:
    """Return consecutive parts of `size`; the last may be shorter."""
    return [whole[at : at + size] for at in range(0, len(whole), size)]


@st.composite
def cuts(draw: DrawFn, length: int) -> list[int]:
    """Return places where something of this length is cut, the ends included; neighbours may be equal."""
    return [0, *sorted(draw(st.lists(st.integers(0, length), max_size=12))), length]


def cut_at(whole: SliceT, places: Sequence[int]) -> list[SliceT]:
    """Return the parts between the places."""
    return [whole[start:end] for start, end in pairwise(places)]
