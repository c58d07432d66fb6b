"""What to do about an engine that has died: start it again, when, or give up. Pure.

The first death in a while is answered at once, because somebody is waiting. Each further one within the window doubles
the wait, and after too many of them the service ends: whoever runs it then sees that, and may know better.
"""

from dataclasses import dataclass
from typing import Final

FIRST_WAIT_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartLimits:
    """How many deaths within which time are too many."""

    most_deaths: int
    window_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Start it again after a wait."""

    wait_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """It has died too often."""

    deaths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deaths:
    """When it died, within the window."""

    at_seconds: tuple[float, ...] = ()


def died(deaths: Deaths, limits: RestartLimits, now_seconds: float) -> tuple[Deaths, Restart | GiveUp]:
    """Count a death, and say what to do."""
    recent = [each for each in deaths.at_seconds if now_seconds - each < limits.window_seconds]
    counted = Deaths(at_seconds=(*recent, now_seconds))
    count = len(counted.at_seconds)
    if count >= limits.most_deaths:
        return counted, GiveUp(deaths=count)
    wait_seconds = 0.0 if count == 1 else min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** (count - 2))
    return counted, Restart(wait_seconds=wait_seconds)
