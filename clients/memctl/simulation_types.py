"""What a simulation tells: what came of each policy on each device, and what really was."""

from dataclasses import dataclass
from typing import Any

from memctl.types import Marks

RECORDED = "recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Free memory from a moment on, and what governed modules hold then."""

    seconds: float
    free_bytes: int
    held_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one policy; `recorded` is what really was, as far as its journal tells."""

    name: str
    seconds: float
    below_critical_seconds: float
    below_low_seconds: float
    below_high_seconds: float
    sent_away: int
    called_home: int
    brought_home: int
    pushed_out: int
    busiest_minute_moves: int
    requests: int
    waits: int
    wait_seconds: float
    longest_wait_seconds: float
    refused_requests: int
    denials: int
    denied_seconds: float
    directives: int
    predictions: int
    prediction_hits: int
    points: tuple[Point, ...]
    trims: int = 0
    shifts: int = 0

    @property
    def moves(self) -> int:
        """All moves of modules."""
        return self.sent_away + self.called_home + self.brought_home + self.pushed_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of every policy on one device."""

    device: str
    total_bytes: int
    start_unix_seconds: float
    marks: Marks
    outcomes: tuple[Outcome, ...]


def trials_of(told: dict[str, Any]) -> tuple[Trial, ...]:
    """Return what the simulation's document tells; KeyError or TypeError where it is of another version."""
    return tuple(_trial_of(one) for one in told["devices"])


def _trial_of(told: dict[str, Any]) -> Trial:
    return Trial(
        device=told["device"],
        total_bytes=told["total_bytes"],
        start_unix_seconds=told["start_unix_seconds"],
        marks=Marks(**told["marks"]),
        outcomes=tuple(_outcome_of(one) for one in told["outcomes"]),
    )


def _outcome_of(told: dict[str, Any]) -> Outcome:
    values = {**told, **told["moves"], "points": tuple(Point(**one) for one in told["points"])}
    for name in ("moves", "device"):
        values.pop(name)
    return Outcome(**values)
