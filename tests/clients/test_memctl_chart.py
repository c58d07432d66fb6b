"""Free memory over time, drawn."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memctl.bars import ASCII, BLOCKS, Glyphs
from memctl.chart import chart, column_levels, scale_of
from memctl.line import with_points
from memctl.policy_wire import status_of
from memctl.types import DeviceMemory, Marks, MemoryPoint, Pressure
from tests.fakes.fake_policy_service import FakeDaemon
from tests.fakes.manual_clock import ManualClock

GB = 10**9
NOW = 1_000.0
MARKS = Marks(critical_bytes=GB // 2, low_bytes=3 * GB // 2, high_bytes=5 * GB // 2)


def device(marks: Marks | None = MARKS) -> DeviceMemory:
    """Return a GPU of 80 GB."""
    return DeviceMemory(
        device="GPU-1",
        unix_seconds=NOW,
        total_bytes=80 * GB,
        free_bytes=GB,
        error="",
        pressure=Pressure.LOW,
        marks=marks,
    )


def points(*free_bytes: int, device: str = "GPU-1", step: float = 1.0) -> list[MemoryPoint]:
    """Return readings so many seconds apart, the last one now."""
    begin = NOW - step * (len(free_bytes) - 1)
    return [
        MemoryPoint(device=device, unix_seconds=begin + step * at, total_bytes=80 * GB, free_bytes=free)
        for at, free in enumerate(free_bytes)
    ]


def drawn(found: list[MemoryPoint], *, width: int = 40, rows: int = 6, glyphs: Glyphs = BLOCKS) -> list[str]:
    """Return the lines of a chart."""
    lines = chart(device(), found, width=width, rows=rows, now_unix_seconds=NOW, glyphs=glyphs)
    return [line.plain for line in lines]


def test_chart_shows_a_fall_with_its_marks() -> None:
    """From left to right memory falls through high, low and critical, each a line with its letter and its size."""
    lines = drawn(points(*[40 * GB] * 20, *[2 * GB] * 20, *[GB // 4] * 21), width=40, rows=8)

    assert [
        "  37.3GiB ██████████                    ",
        "          ██████████                    ",
        "          ██████████                    ",
        "          ██████████                    ",
        " 2.3GiB H ██████████▂▂▂▂▂▂▂▂▂▂┈┈┈┈┈┈┈┈┈┈",
        " 1.4GiB L ████████████████████┈┈┈┈┈┈┈┈┈┈",
        " 477MiB C ████████████████████┈┈┈┈┈┈┈┈┈┈",
        "          ████████████████████          ",
    ] == lines


@given(
    free=st.lists(st.integers(0, 80 * GB), min_size=2, max_size=40),
    width=st.integers(1, 120),
    rows=st.integers(0, 10),
    glyphs=st.sampled_from([BLOCKS, ASCII]),
)
@settings(deadline=None, max_examples=100)
def test_chart_has_its_size_whatever_memory_does(free: list[int], width: int, rows: int, glyphs: Glyphs) -> None:
    """Every line has the width, there are as many as were asked for, and ASCII is ASCII."""
    lines = drawn(points(*free), width=width, rows=rows, glyphs=glyphs)

    assert {width} >= {len(line) for line in lines}
    assert len(lines) in {0, rows}
    assert glyphs is BLOCKS or all(line.isascii() for line in lines)


@pytest.mark.parametrize(
    ("found", "marks"),
    [
        pytest.param(points(GB), MARKS, id="one reading"),
        pytest.param(points(GB, GB, device="other"), MARKS, id="another device"),
        pytest.param(points(GB, GB), None, id="no marks"),
    ],
)
def test_chart_of_nothing_is_nothing(found: list[MemoryPoint], marks: Marks | None) -> None:
    """Where there is no line to draw, no room is taken."""
    assert [] == chart(device(marks), found, width=80, rows=6, now_unix_seconds=NOW, glyphs=BLOCKS)


def test_column_shows_the_least_that_was_free() -> None:
    """A dip of a second is not averaged away."""
    levels = column_levels(points(*[9] * 30, 1, *[9] * 30), 10, 60.0, NOW)

    assert 1 == levels.count(1)


def test_gap_stays_a_gap() -> None:
    """Where nobody read memory for long, nothing is drawn; between two readings of a daemon at rest the line holds."""
    early, late = points(5, step=1.0)[0], points(7)[0]
    found = [MemoryPoint(device="GPU-1", unix_seconds=NOW - 50, total_bytes=9, free_bytes=5), late]
    levels = column_levels(found, 60, 60.0, NOW)

    assert (5, 7, True) == (levels[10], levels[-1], early.free_bytes == 5)
    assert [None] * 10 == levels[25:35]
    assert [5] * 6 == levels[10:16]


@given(free=st.lists(st.integers(0, 80 * GB), min_size=2, max_size=20, unique=True), rows=st.integers(3, 8))
def test_scale_keeps_the_order_of_sizes(free: list[int], rows: int) -> None:
    """More is never drawn lower, and all of it is on the drawing."""
    scale = scale_of(MARKS, free, rows)
    levels = [scale.level(one) for one in sorted(free)]

    assert all(low <= high for low, high in pairwise(levels))
    assert 0 <= levels[0] <= levels[-1] <= rows


def test_points_are_gathered_a_second_apart_and_forgotten_in_time() -> None:
    """A view that runs for a day remembers a quarter of an hour."""
    clock = ManualClock(NOW)
    daemon = FakeDaemon(clock=clock)
    found: tuple[MemoryPoint, ...] = ()
    for _ in range(2_000):
        found = with_points(found, status_of(daemon.status()))
        clock.advance(0.5)

    assert (901, 900.0) == (len(found), found[-1].unix_seconds - found[0].unix_seconds)
