"""Percentiles of the times of moves."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Some moves of one kind, in milliseconds."""

    count: int
    p50: float
    p99: float
    worst: float


def spread_of(seconds: Sequence[float]) -> Spread:
    """Return the percentiles of at least one time."""
    ordered = sorted(1000 * each for each in seconds)
    last = len(ordered) - 1
    return Spread(
        count=len(ordered), p50=ordered[round(0.5 * last)], p99=ordered[round(0.99 * last)], worst=ordered[last]
    )
