"""How soon places come free, learned from those that did: what a client is told to wait before it asks again. Pure."""

import math
from dataclasses import dataclass, replace
from typing import Final

WEIGHT: Final = 0.1
"""Of a stay that ends beside those before it."""
USUAL_SECONDS: Final = 60.0
"""How long a session is taken to stay before any was seen to leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Departures:
    """How long sessions stay, on the average."""

    stay_seconds: float = USUAL_SECONDS


def departed(departures: Departures, stay_seconds: float) -> Departures:
    """Return what is known after a session that had been here for so long has left."""
    return replace(departures, stay_seconds=departures.stay_seconds + WEIGHT * (stay_seconds - departures.stay_seconds))


def between_seconds(departures: Departures, here: int) -> float:
    """Return how long it takes on the average until one of so many has left; `math.inf` if nobody is here."""
    return departures.stay_seconds / here if here else math.inf


def wait_seconds(departures: Departures, *, here: int, leaving: int) -> float:
    """Return how long it takes on the average until so many have left, while as many come as go."""
    assert leaving >= 0
    return leaving * between_seconds(departures, here) if leaving else 0.0
