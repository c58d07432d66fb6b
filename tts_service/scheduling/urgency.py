"""In which order work is looked at: what is heard first comes first, and bulk is never kept waiting for ever. Pure.

Rules
* Interactive work comes by when it has to start for its deadline, bulk by how long it has waited, after all interactive
  work that is due soon.
* A first sound that is late breaks a promise, any other makes a gap. So the later a first sound is, the more urgent it
  is not: it stands where what has to start now stands, behind what should have started before.
* Interactive work that is due only later than `hold_seconds` leads nothing: it goes along with what is more urgent, so
  that more is done at once, and leaves the device to bulk.
* Bulk that has waited for `bulk_wait_seconds` leads every `bulk_every`th decision until it is done, the oldest first,
  whatever waits beside it. So each piece is done after a number of decisions that depends on bulk alone.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from tts_service.scheduling.work import Priority, Rest

LEAST_HOLD_SECONDS: Final = 2.0
"""Simulated on an H100 with 34 sessions, stocks of 2 s instead of 6 had the lane of tokens work for 0.37 of the time
instead of 0.56, and that of sound for 0.46 instead of 0.56."""
FEW: Final = 8
"""Sessions for which the device has time to spare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long what may wait."""

    hold_seconds: float
    bulk_wait_seconds: float = 3.0
    bulk_every: int = 4

    def __post_init__(self) -> None:
        assert self.hold_seconds > 0.0
        assert self.bulk_every > 1, "interactive work would never lead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """What a lane remembers from one decision to the next: how many aged bulk was passed over in."""

    passed_over: int = 0


class Waiting(Protocol):
    """A piece of work that waits."""

    @property
    def key(self) -> int:
        """Its number."""
        ...

    @property
    def priority(self) -> Priority:
        """Whether somebody listens."""
        ...

    @property
    def due_at(self) -> float:
        """By when it should be done."""
        ...

    @property
    def waiting_since(self) -> float:
        """Since when it waits."""
        ...

    @property
    def opens(self) -> bool:
        """Whether it is for a first sound."""
        ...


Piece = TypeVar("Piece", bound=Waiting)


def hold_seconds(ahead_seconds: float, count: int) -> float:
    """Return how far ahead of need work leads, of so many that may be made `ahead_seconds` ahead.

    Few get all that they may have at once: the device has nothing else to do. Of many each keeps less in stock, so that
    what is far ahead goes along with what is urgent instead of slowing it down.
    """
    return min(ahead_seconds, max(LEAST_HOLD_SECONDS, ahead_seconds * FEW / max(1, count)))


def in_order(
    pieces: Collection[Piece], start_by: Callable[[Piece], float], patience: Patience, turns: Turns, now: float
) -> tuple[list[Piece], Turns]:
    """Return work in the order of its urgency, and the turns after the decision that the first of it leads.

    `start_by` tells by when a piece has to start, or to go on, to be done when it is due.
    """
    ordered = sorted(pieces, key=lambda piece: _urgency(piece, start_by(piece), patience, now))
    aged = [p for p in ordered if p.priority is Priority.BULK and now - p.waiting_since >= patience.bulk_wait_seconds]
    if not aged or aged[0] is ordered[0]:
        return ordered, Turns()
    if turns.passed_over + 1 < patience.bulk_every:
        return ordered, Turns(passed_over=turns.passed_over + 1)
    ordered.remove(aged[0])
    return [aged[0], *ordered], Turns()


def _urgency(piece: Waiting, start_by: float, patience: Patience, now: float) -> tuple[int, float, float, int]:
    if piece.priority is Priority.BULK:
        return 1, piece.waiting_since, piece.waiting_since, piece.key
    start_by = max(start_by, now) if piece.opens else start_by
    return (2 if is_held(piece, patience, now) else 0), start_by, piece.waiting_since, piece.key


def is_held(piece: Waiting, patience: Patience, now: float) -> bool:
    """Tell whether work is so far ahead that it leads nothing yet."""
    return piece.priority is Priority.INTERACTIVE and piece.due_at - now > patience.hold_seconds


def rest(pieces: Collection[Waiting], patience: Patience, now: float) -> Rest:
    """Return until when nothing of this needs doing; all of it is held."""
    # What floats make of the difference must not be held again when the time has come.
    return Rest(until=max(now, min((p.due_at - patience.hold_seconds for p in pieces), default=math.inf)) + 1e-6)
