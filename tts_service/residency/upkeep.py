"""What the service gives back by itself while nobody governs it, and what it may send away when it is asked. Pure.

The static marks stand in for a daemon where there is none: free memory below `low` sends idle modules away, the coldest
first; below `critical` also those that open utterances will need again, as far as that is needed to reach it. A
directive in force rules alone: two who give back for the same shortage would give back twice. A module on its way out
has not shown yet in what is free, so that nothing is decided meanwhile.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tts_service.errors import StartupError
from tts_service.residency.situation import Residence, Situation, in_use, settled_home
from tts_service.residency.types import ModuleState
from tts_service.residency.wishes import wish_for
from tts_service.types import ModuleName


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticMarks:
    """Free memory below which modules leave without anybody's word; 0 for never."""

    low_bytes: int = 0
    critical_bytes: int = 0

    @property
    def highest_bytes(self) -> int:
        """What is to stay free."""
        return max(self.low_bytes, self.critical_bytes)

    @property
    def are_set(self) -> bool:
        """Whether there is a mark at all."""
        return self.highest_bytes > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What the service does by itself: its marks, whether it cleans up after evictions and utterances, its history."""

    marks: StaticMarks = StaticMarks()
    cleans_up: bool = False
    keeps_history: bool = True


IDLE_CACHE_BYTES = 16 << 20
"""What an allocator may keep for use while nobody speaks. Making a voice leaves hundreds of MiB behind."""

NO_UPKEEP = Upkeep()
"""Nothing but the history."""


def relief(situation: Situation, marks: StaticMarks, *, free_bytes: int, now_seconds: float) -> tuple[ModuleName, ...]:
    """Return the modules that are to leave at once for want of memory, the coldest first."""
    if situation.wishes.directive is not None or _is_moving(situation):
        return ()
    latest_seconds = now_seconds - situation.wishes.stay_seconds
    unused = [each for each in idle(situation) if _used_seconds(situation, each) <= latest_seconds]
    chosen = _as_needed(unused, marks.highest_bytes - free_bytes)
    others = [each for each in _removable(situation) if each not in unused]
    missing_bytes = marks.critical_bytes - free_bytes - sum(each.home_bytes for each in chosen)
    return tuple(each.module for each in (*chosen, *_as_needed(others, missing_bytes)))


def to_trim(situation: Situation, *, modules: bool) -> tuple[ModuleName, ...]:
    """Return what may leave home without any open utterance, request or operator missing it.

    That is scratch memory, and with `modules` all others as well.
    """
    return tuple(each.module for each in idle(situation) if modules or each.is_scratch)


def is_quiet(situation: Situation) -> bool:
    """Tell whether nobody speaks, computes or waits."""
    leases = situation.leases
    return not (leases.claims or leases.waiting or any(leases.held.values()))


def check_marks(marks: StaticMarks, free_bytes: Callable[[], int | None]) -> None:
    """Raise StartupError for marks that cannot be kept because nobody can tell what is free."""
    if marks.are_set and free_bytes() is None:
        raise StartupError("static_low_bytes, static_critical_bytes: free memory cannot be read on this machine")


def _as_needed(residences: Sequence[Residence], missing_bytes: int) -> list[Residence]:
    """Return the first of these that together give so much back, all if they do not, none if nothing is missing."""
    chosen: list[Residence] = []
    for residence in residences:
        if missing_bytes <= 0:
            break
        chosen.append(residence)
        missing_bytes -= residence.home_bytes
    return chosen


def idle(situation: Situation, *, besides: frozenset[ModuleName] = frozenset()) -> list[Residence]:
    """Return what leaves home without anybody missing it, the coldest first; `besides` are claimed in vain."""
    missed = frozenset(situation.leases.claims) - besides
    return [each for each in _removable(situation) if each.module not in missed]


def _removable(situation: Situation) -> list[Residence]:
    """Return what only a claim keeps at home, if anything, the coldest first."""
    wanted = frozenset[ModuleName]().union(*(request.modules for request in situation.leases.waiting))
    removable = (each for each in situation.residences if each.module not in wanted and _may_leave(situation, each))
    return sorted(removable, key=lambda each: _warmth(situation, each))


def _may_leave(situation: Situation, residence: Residence) -> bool:
    """Tell whether nothing but a claim keeps a module at home: no lease, no pin and nobody else's wish."""
    wish = wish_for(situation.wishes, residence.module, home=situation.home)
    return (
        settled_home(situation, residence)
        and residence.home_bytes > 0
        and not in_use(situation, residence.module)
        and (wish is None or wish.tier is not situation.home)
    )


def _is_moving(situation: Situation) -> bool:
    return any(each.state in (ModuleState.RESTORING, ModuleState.EVICTING) for each in situation.residences)


def _used_seconds(situation: Situation, residence: Residence) -> float:
    return situation.leases.last_use_seconds.get(residence.module, float("-inf"))


def _warmth(situation: Situation, residence: Residence) -> tuple[bool, float, int]:
    """Order modules from the first to leave to the last; of those never used, the later in the data path is colder."""
    return (
        residence.module in situation.leases.claims,
        _used_seconds(situation, residence),
        -situation.residences.index(residence),
    )
