"""A list of times that does not grow: how many fell into each of some hundred ranges, every one 2 % wide.

A soak meets millions of chunks. Percentiles are the upper end of their range, and so at most 2 % too large; count,
sum and maximum are exact.
"""

import math
from array import array
from typing import Final

from benchmarks.speaking import Figures

LEAST_SECONDS: Final = 1e-5
GROWTH: Final = 1.02
RANGES: Final = 1_050
"""Up to three hours."""

_LOG_GROWTH: Final = math.log(GROWTH)


class Histogram:
    """Times in seconds; what is below the least counts as the least."""

    def __init__(self) -> None:
        self.count = 0
        self.sum_seconds = 0.0
        self.max_seconds = 0.0
        self._counts = array("Q", bytes(8 * RANGES))

    def __repr__(self) -> str:
        return f"<Histogram of {self.count} up to {self.max_seconds:.3f} s>"

    def add(self, seconds: float) -> None:
        """Count a time."""
        place = 0 if seconds <= LEAST_SECONDS else math.ceil(math.log(seconds / LEAST_SECONDS) / _LOG_GROWTH)
        self._counts[min(place, RANGES - 1)] += 1
        self.count += 1
        self.sum_seconds += seconds
        self.max_seconds = max(self.max_seconds, seconds)

    def percentile(self, share: float) -> float:
        """Return the time that at least this share of all are not above. Zero if there is none."""
        wanted, passed = math.ceil(share * self.count), 0
        for place, count in enumerate(self._counts):
            passed += count
            if passed >= wanted and passed:
                return min(self.max_seconds, LEAST_SECONDS * GROWTH**place)
        return 0.0

    def figures(self) -> Figures:
        """Return the percentiles, in milliseconds."""
        return Figures(
            count=self.count,
            p50_ms=round(1e3 * self.percentile(0.50), 3),
            p95_ms=round(1e3 * self.percentile(0.95), 3),
            p99_ms=round(1e3 * self.percentile(0.99), 3),
            max_ms=round(1e3 * self.max_seconds, 3),
        )
