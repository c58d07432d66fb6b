"""Days that are simulated: who comes when, and for how long."""

import random
from collections.abc import Sequence

from benchmarks.scheduling_sessions import Arrival, Manner

FOR_EVER_SECONDS = 1e9


def spread(
    count: int, *, manner: Manner = Manner.TALK, over_seconds: float = 10.0, seed: int = 1
) -> tuple[Arrival, ...]:
    """Return sessions that come at random within a time, and stay."""
    chance = random.Random(seed)  # noqa: S311  # No cryptography here.
    return tuple(
        Arrival(at=chance.uniform(0.0, over_seconds), manner=manner, stay_seconds=FOR_EVER_SECONDS, seed=number)
        for number in range(count)
    )


def steady(each_second: float, *, stay_seconds: float, until: float, seed: int = 3) -> tuple[Arrival, ...]:
    """Return sessions that come at random for ever, and stay for a time that differs by half of it."""
    chance = random.Random(seed)  # noqa: S311  # No cryptography here.
    arrivals, at = list[Arrival](), chance.expovariate(each_second)
    while at < until:
        stays = stay_seconds * chance.uniform(0.5, 1.5)
        arrivals.append(Arrival(at=at, manner=Manner.TALK, stay_seconds=stays, seed=len(arrivals)))
        at += chance.expovariate(each_second)
    return tuple(arrivals)


def files(count: int) -> tuple[Arrival, ...]:
    """Return long texts that are there from the beginning."""
    return tuple(
        Arrival(at=0.0, manner=Manner.FILE, stay_seconds=FOR_EVER_SECONDS, seed=1_000 + number)
        for number in range(count)
    )


def beside(*days: Sequence[Arrival]) -> tuple[Arrival, ...]:
    """Return all of these at once."""
    return tuple(arrival for day in days for arrival in day)
