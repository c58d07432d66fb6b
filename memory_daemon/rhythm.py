"""When in a day a module is used, so that it can be brought home ahead of need.

Pure. A day has 48 slots of half an hour. A module is expected in a slot if it was used in it yesterday, or on the same
day of the week before. Days are UTC days: what matters is that they repeat, not where they begin.
"""

from dataclasses import dataclass, replace

DAY_SECONDS = 86_400.0
SLOT_SECONDS = 1_800.0
"""Half an hour: short against a working day, long against the differences from one day to the next."""
WEEK_DAYS = 7
EXPECTED_DAYS = (1, WEEK_DAYS)
"""So many days ago a use counts: yesterday, and for what rests at weekends, a week ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """The slots in which a module was used, one bit each: of `day`, of the day before, and so on for a week.

    `day` counts from 1970; days at the end in which nothing was used are left out.
    """

    day: int = 0
    days: tuple[int, ...] = ()


def used(rhythm: Rhythm, unix_seconds: float) -> Rhythm:
    """Return the rhythm with a use at that time, which may be a week ago at most; the same use counts once."""
    day = _day(unix_seconds)
    now = turned(rhythm, unix_seconds) if day > rhythm.day else rhythm
    days_ago, bit = now.day - day, 1 << _slot(unix_seconds)
    if days_ago > WEEK_DAYS or _slots(now, days_ago) & bit:
        return now
    days = [*now.days, *(0 for _ in range(days_ago + 1 - len(now.days)))]
    days[days_ago] |= bit
    return replace(now, days=tuple(days))


def turned(rhythm: Rhythm, unix_seconds: float) -> Rhythm:
    """Return the rhythm as it is at that time: days pass, and what is older than a week is forgotten.

    A clock that was set back by more than a day was wrong before, and so is what was learned by it.
    """
    day = _day(unix_seconds)
    passed = day - rhythm.day
    if passed < -1:
        return Rhythm(day=day)
    if passed <= 0:
        return rhythm
    days = [*(0 for _ in range(min(passed, WEEK_DAYS + 1))), *rhythm.days][: WEEK_DAYS + 1]
    while days and not days[-1]:
        days.pop()
    return Rhythm(day=day, days=tuple(days))


def expected(rhythm: Rhythm, unix_seconds: float, lead_seconds: float) -> bool:
    """Tell whether the module will be used, as far as other days tell, in the slot that the lead ahead falls into."""
    coming_seconds = unix_seconds + lead_seconds
    then = turned(rhythm, coming_seconds)
    return any(_slots(then, days_ago) >> _slot(coming_seconds) & 1 for days_ago in EXPECTED_DAYS)


def slot_ends_seconds(unix_seconds: float, lead_seconds: float) -> float:
    """Return how long a module that is expected now may be waited for: to the end of the slot that is expected."""
    return SLOT_SECONDS - (unix_seconds + lead_seconds) % SLOT_SECONDS + lead_seconds


def _slots(rhythm: Rhythm, days_ago: int) -> int:
    return rhythm.days[days_ago] if days_ago < len(rhythm.days) else 0


def _day(unix_seconds: float) -> int:
    return int(unix_seconds // DAY_SECONDS)


def _slot(unix_seconds: float) -> int:
    return int(unix_seconds % DAY_SECONDS // SLOT_SECONDS)
