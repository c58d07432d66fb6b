"""How fast something grows, judged so that a few odd readings do not matter. Pure.

Theil and Sen's estimate: the median of the slopes between all pairs of points.
"""

import statistics
from collections.abc import Sequence
from itertools import combinations
from typing import Final

POINTS_MOST: Final = 200
"""Of more, evenly spaced ones are taken: all pairs of 200 are 19,900."""


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return what (time, value) points grow by in a unit of time; 0 if there are not two times."""
    stride = -(-len(points) // POINTS_MOST) or 1
    slopes = [
        (later - earlier) / (end - begin)
        for (begin, earlier), (end, later) in combinations(points[::stride], 2)
        if end != begin
    ]
    return statistics.median(slopes) if slopes else 0.0
