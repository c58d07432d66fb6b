"""Which segments' keys and values leave the device because nobody asks for their tokens. Pure.

Rules
* A listener who stands still by the client's word may do so for long: after `after_seconds` of that its segment leaves.
* So does one whose tokens nobody has asked for in much longer, whatever the reason.
* Where memory is short, whoever rests or is far ahead, and is not due soon, leaves; whoever is due last first. Bulk is
  never due. Far ahead are those who then have no tokens along with others either, or they would come back at once.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RestLimits:
    """How long what rests may stay."""

    after_seconds: float = 2.0
    unasked_seconds: float = 10.0
    """Longer than a chunk lasts: the tokens of who plays on rest while a chunk is heard."""
    short_seconds: float = 0.25
    back_seconds: float = 0.5
    """Before it is due: to come back takes milliseconds, and T3, if it has left too, some tens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """A segment with pages on the device, whose last tokens were made at `since`."""

    key: int
    since: float
    still_seconds: float = 0.0
    """For how long its listener has stood still."""
    due_at: float = math.inf
    is_held: bool = False
    """Whether it is so far ahead that it need not have tokens."""


def next_to_leave(segments: Collection[Resting], limits: RestLimits, now: float, *, is_short: bool) -> int | None:
    """Return whose keys and values are to leave now, if anybody's."""
    leaving = [each for each in segments if _leaves(each, limits, now, is_short=is_short)]
    first = max(leaving, key=lambda each: (each.still_seconds, each.due_at, -each.since), default=None)
    return None if first is None else first.key


def _leaves(segment: Resting, limits: RestLimits, now: float, *, is_short: bool) -> bool:
    rested_seconds = now - segment.since
    if rested_seconds >= limits.after_seconds and segment.still_seconds >= limits.after_seconds:
        return True
    bound_seconds = limits.short_seconds if is_short else limits.unasked_seconds
    rests = rested_seconds >= bound_seconds or (is_short and segment.is_held)
    return rests and segment.due_at - now >= limits.back_seconds
