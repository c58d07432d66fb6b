"""Who leaves home to make room, and up to how many bytes. Pure, as `placement` is, which asks this."""

from tts_service.residency.situation import (
    Residence,
    Situation,
    at_home_or_coming,
    bytes_of,
    growing_bytes,
    settled_home,
)
from tts_service.residency.types import Urgency
from tts_service.residency.wishes import budget_bytes, wish_for
from tts_service.types import ModuleName


def room_limit_bytes(situation: Situation) -> int | None:
    """Return what may be at home with all that is to grow there, None for no bound."""
    budget = budget_bytes(situation.wishes)
    if not situation.growths:
        return budget
    bounds = (budget, *(growth.ceiling_bytes for growth in situation.growths))
    return min((bound for bound in bounds if bound is not None), default=None)


def fits_for_good(situation: Situation, modules: frozenset[ModuleName]) -> bool:
    """Tell whether these modules may be at home together, beside the room that is kept."""
    limit = room_limit_bytes(situation)
    return limit is None or bytes_of(situation, modules) + growing_bytes(situation) <= limit


def victims(situation: Situation, keepers: frozenset[ModuleName]) -> frozenset[ModuleName]:
    """Choose who makes room: the coldest unclaimed first, and no more than needed.

    For memory that was found short, those that somebody has an interest in are spared once it has been of no use.
    """
    leaving = _chosen(situation, keepers, room_limit_bytes(situation))
    shortage = situation.shortage
    if shortage is None or not situation.leases.waiting:
        return leaving
    spared = _wanted(situation) if shortage.is_futile else frozenset[ModuleName]()
    return leaving | _chosen(situation, keepers, shortage.ceiling_bytes, spared=spared)


def _chosen(
    situation: Situation,
    keepers: frozenset[ModuleName],
    limit_bytes: int | None,
    *,
    spared: frozenset[ModuleName] = frozenset(),
) -> frozenset[ModuleName]:
    if limit_bytes is None:
        return frozenset()
    excess = bytes_of(situation, at_home_or_coming(situation) | keepers) + growing_bytes(situation) - limit_bytes
    stay = keepers | spared
    movable = (each for each in situation.residences if settled_home(situation, each) and each.module not in stay)
    chosen: list[Residence] = []
    for residence in sorted(movable, key=lambda each: _warmth(situation, each)):
        if excess > 0 and residence.home_bytes:
            chosen.append(residence)
            excess -= residence.home_bytes
    # A cold module may stay after all if a warmer one, which must leave, makes enough room alone.
    for residence in tuple(chosen):
        if excess + residence.home_bytes <= 0:
            chosen.remove(residence)
            excess += residence.home_bytes
    return frozenset(residence.module for residence in chosen)


def _wanted(situation: Situation) -> frozenset[ModuleName]:
    """Return what open utterances or requests need."""
    requested = (request.modules for request in situation.leases.waiting)
    return frozenset(situation.leases.claims).union(*requested)


def _warmth(situation: Situation, residence: Residence) -> tuple[bool, bool, bool, float, int]:
    """Order modules from the first to leave to the last; of those never used, the later in the data path is colder.

    Who leaves anyhow, and at the latest when its lease ends, makes the room that it leaves behind.
    """
    wish = wish_for(situation.wishes, residence.module, home=situation.home)
    goes = wish is not None and wish.tier is not situation.home and wish.urgency is Urgency.WHEN_UNLEASED
    return (
        residence.module not in situation.leaving and not goes,
        residence.module in situation.leases.claims,
        residence.module in situation.leases.held,
        situation.leases.last_use_seconds.get(residence.module, float("-inf")),
        -situation.residences.index(residence),
    )
