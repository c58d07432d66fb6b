"""Who takes more is told from who stands still, and from who only comes back to what he took before."""

import pytest

from memory_daemon.others import Others, noted, rising


def read(*readings: tuple[float, int]) -> Others | None:
    """Return what is known after readings (time, bytes that others take)."""
    others = None
    for now_seconds, used_bytes in readings:
        others = noted(others, used_bytes, now_seconds, breath_bytes=10)
    return others


@pytest.mark.parametrize(
    ("readings", "now_seconds", "expected"),
    [
        pytest.param([], 0.0, True, id="nothing is known"),
        pytest.param([(0.0, 100)], 0.5, True, id="seen just now"),
        pytest.param([(0.0, 100), (1.0, 100)], 1.0, False, id="standing still"),
        pytest.param([(0.0, 100), (5.0, 110)], 5.0, False, id="breathing"),
        pytest.param([(0.0, 100), (5.0, 111)], 5.9, True, id="risen lately"),
        pytest.param([(0.0, 100), (5.0, 111)], 6.0, False, id="risen a while ago"),
        pytest.param([(0.0, 100), (5.0, 20), (30.0, 100)], 30.0, False, id="back at the peak"),
        pytest.param([(0.0, 100), (5.0, 20), (61.0, 20), (62.0, 100)], 62.0, True, id="after the peak is forgotten"),
        pytest.param([(0.0, 100), (50.0, 95), (90.0, 20), (95.0, 100)], 95.0, False, id="a peak that lasts"),
        pytest.param([(0.0, 100), (2.0, 108), (4.0, 116)], 4.0, True, id="a leak that has come far"),
    ],
)
def test_others_rise(readings: list[tuple[float, int]], now_seconds: float, *, expected: bool) -> None:
    """A rise is more than the most of the last minute, and for a second."""
    assert expected == rising(read(*readings), now_seconds)
