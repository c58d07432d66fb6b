"""When in a day a module is used, so that it can be brought home ahead of need.

Pure. A day has 48 slots of half an hour; a module that was used in a slot yesterday is expected in it today. Days are
UTC days: what matters is that they repeat, not where they begin.
"""

from dataclasses import dataclass, replace

DAY_SECONDS = 86_400.0
SLOT_SECONDS = 1_800.0
"""Half an hour: short against a working day, long against the differences from one day to the next."""
LEAD_SECONDS = 300.0
"""A module is expected so long before its slot begins; restores take seconds at most, but room may come and go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """The slots of `day`, and of the day before, in which a module was used, one bit each."""

    day: int = 0
    today: int = 0
    yesterday: int = 0


def used(rhythm: Rhythm, unix_seconds: float) -> Rhythm:
    """Return the rhythm with a use at that time."""
    now = turned(rhythm, unix_seconds)
    return replace(now, today=now.today | 1 << _slot(unix_seconds))


def turned(rhythm: Rhythm, unix_seconds: float) -> Rhythm:
    """Return the rhythm as it is at that time: yesterday is the day before, and empty if that was not seen."""
    day = int(unix_seconds // DAY_SECONDS)
    if day <= rhythm.day:
        return rhythm
    return Rhythm(day=day, yesterday=rhythm.today if day == rhythm.day + 1 else 0)


def expected(rhythm: Rhythm, unix_seconds: float) -> bool:
    """Tell whether the module was used yesterday in the slot that begins soon, or has begun."""
    coming = unix_seconds + LEAD_SECONDS
    return _was_used(rhythm, unix_seconds) or _was_used(rhythm, coming)


def slot_ends_seconds(unix_seconds: float) -> float:
    """Return how long a module that is expected now may be waited for: to the end of the slot that is expected."""
    coming = unix_seconds + LEAD_SECONDS
    return SLOT_SECONDS - coming % SLOT_SECONDS + LEAD_SECONDS


def _was_used(rhythm: Rhythm, unix_seconds: float) -> bool:
    now = turned(rhythm, unix_seconds)
    return bool(now.yesterday >> _slot(unix_seconds) & 1)


def _slot(unix_seconds: float) -> int:
    return int(unix_seconds % DAY_SECONDS // SLOT_SECONDS)
