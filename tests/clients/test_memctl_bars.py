"""Bars of memory with the marks on them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memctl.bars import ASCII, BLOCKS, Glyphs, mark_columns, memory_bar, share_bar
from memctl.types import DeviceMemory, Marks, Pressure


def device(total: int, free: int, marks: tuple[int, int, int] | None = (5, 10, 15)) -> DeviceMemory:
    """Return a device with so much memory and the marks critical, low and high."""
    levels = None if marks is None else Marks(critical_bytes=marks[0], low_bytes=marks[1], high_bytes=marks[2])
    return DeviceMemory(
        device="host",
        unix_seconds=0.0,
        total_bytes=total,
        free_bytes=free,
        error="",
        pressure=Pressure.STEADY,
        marks=levels,
    )


@pytest.mark.parametrize(
    ("free", "marks", "bar"),
    [
        (100, (10, 20, 30), ".......HLC"),
        (50, (10, 20, 30), "#####..HLC"),
        (0, (10, 20, 30), "#######HLC"),
        (0, None, "##########"),
        (25, (0, 0, 0), "########.C"),
        (100, (90, 95, 100), "LC........"),
        (100, (200, 300, 400), "C........."),
    ],
)
def test_bar_grows_towards_the_marks(free: int, marks: tuple[int, int, int] | None, bar: str) -> None:
    """What is used grows from the left; a mark stands where so much would be free; the graver hides the other."""
    assert bar == memory_bar(device(100, free, marks), 10, ASCII).plain


def test_bar_of_blocks_shows_eighths() -> None:
    """Where the terminal has them, blocks show an eighth of a cell."""
    assert "█▌░░" == share_bar(0.375, 4, BLOCKS).plain


def test_bar_of_nothing_is_empty() -> None:
    """A device without a size, as before the first sample, has an empty bar and no marks."""
    assert "...." == memory_bar(device(0, 0), 4, ASCII).plain


@settings(deadline=None, max_examples=200)
@given(
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.tuples(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12)),
    st.integers(1, 200),
    st.sampled_from([BLOCKS, ASCII]),
)
def test_bar_is_as_wide_as_asked_and_always_shows_critical(
    total: int, free: int, marks: tuple[int, int, int], width: int, glyphs: Glyphs
) -> None:
    """Whatever the numbers, a bar fills its width, and the gravest mark is never hidden."""
    shown = memory_bar(device(total, free, marks), width, glyphs)

    assert width == shown.cell_len
    assert ("C" in shown.plain) is (total > 0)
    assert all(0 <= column < width for column, _, _ in mark_columns(device(total, free, marks).marks, total, width))


@settings(deadline=None, max_examples=200)
@given(st.floats(-1, 2), st.floats(-1, 2), st.integers(1, 100))
def test_more_is_never_drawn_as_less(one: float, other: float, width: int) -> None:
    """A larger share fills at least as many cells."""
    less, more = sorted([one, other])

    assert share_bar(less, width, ASCII).plain.count("#") <= share_bar(more, width, ASCII).plain.count("#")
