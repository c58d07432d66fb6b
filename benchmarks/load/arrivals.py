"""When sessions arrive where nobody waits for an earlier one to end. Pure.

An arrival has its time before anybody knows whether there is room for it. If it cannot begin then, it is late, and its
listener's wait counts from the time at which it was due: a slow service does not get to slow its own examiner down.
"""

import random
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

LATE_SECONDS: Final = 0.02
"""An arrival that begins within this of its time is on time: timers and the loop's other work take a little."""


class Arrivals(StrEnum):
    """How arrivals are spread."""

    POISSON = "poisson"
    EVEN = "even"


def arrival_times(kind: Arrivals, rate_per_second: float, seconds: float, source: random.Random) -> Iterator[float]:
    """Give the times of arrivals within so many seconds, rising; they depend on nothing that happens meanwhile."""
    assert rate_per_second > 0.0
    gap = 1.0 / rate_per_second
    at = gap / 2.0 if kind is Arrivals.EVEN else source.expovariate(rate_per_second)
    while at < seconds:
        yield at
        at += gap if kind is Arrivals.EVEN else source.expovariate(rate_per_second)
