"""What a policy on trial is to the simulation: something that sees what the daemon sees, and says what it wants."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from memory_daemon.orders import Observation
from memory_daemon.types import ServiceName, Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a contender wants of each service, and how long it rests; a service it does not name is left alone.

    `trims` are the services to ask for what their allocators keep, with the numbers that they answer under.
    """

    wishes: Mapping[ServiceName, Wish]
    next_seconds: float
    trims: Mapping[ServiceName, int] = field(default_factory=dict)


class Contender(Protocol):
    """A policy on trial; it may remember what it has seen."""

    @property
    def name(self) -> str:
        """What it is called in a table."""

    @property
    def shortest_seconds(self) -> float:
        """The shortest time between two of its steps."""

    @property
    def predictions(self) -> tuple[int, int]:
        """How many modules it has brought home ahead of need, and how many of them were used."""

    def step(self, seen: Observation, again: Callable[[], Observation]) -> Step:
        """Decide on what is seen; `again` reads memory once more, confirmed."""
