"""Who wants to leave home, for whom, and what still keeps it there. Pure, as `placement` is, which asks this."""

from dataclasses import dataclass, replace

from tts_service.residency.situation import Residence, Situation
from tts_service.residency.types import Authority, Directive, Urgency
from tts_service.residency.wishes import Wish, wish_for, with_directive
from tts_service.types import ModuleName

LEASED = "leased"
CLAIMED = "claimed"
BUDGET = "budget"
"""Why a module is not where it is wanted; the last says that there is no room for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """A module that wants to leave: as soon as `obstacle` is gone, not before `due_seconds`, or at once.

    `closes`: only leases keep it, which would go on for ever where there is always another one. So it takes no new ones
    until it has left; whoever asks for it meanwhile waits, and brings it back.
    """

    module: ModuleName
    authority: Authority
    obstacle: str | None = None
    due_seconds: float | None = None
    closes: bool = False


def directed(situation: Situation, directive: Directive | None) -> Situation:
    """Put a directive in force, or none. Which modules it wants away in a hurry are guests no more.

    Whoever says so anew has seen who came back, and needs the memory now: such a module leaves at the end of a lease.
    The word that a guest came back against does not end its stay, or every step of a turn would bring the module home
    and lose it again until its governor has seen it.
    """
    placements = directive.placements if directive is not None else ()
    hurried = {each.module for each in placements if each.urgency is Urgency.WHEN_UNLEASED}
    residences = (
        replace(each, guest=False) if each.guest and each.module in hurried else each for each in situation.residences
    )
    return replace(situation, residences=tuple(residences), wishes=with_directive(situation.wishes, directive))


def can_go(departure: Departure) -> bool:
    """Tell whether nothing keeps the module any more."""
    return departure.obstacle is None and departure.due_seconds is None


def goes_anyway(situation: Situation, departure: Departure) -> bool:
    """Tell whether a module leaves although requests wait for it: it had closed before they came."""
    closed = departure.module in situation.leaving and departure.authority is not Authority.DEFAULT
    return closed and (departure.closes or can_go(departure))


def making_room(situation: Situation, residence: Residence, authority: Authority) -> Departure:
    """Return the departure of a module that must make room: only a lease keeps it."""
    leased = LEASED if residence.module in situation.leases.held else None
    return Departure(module=residence.module, authority=authority, obstacle=leased)


def voluntary(situation: Situation, residence: Residence, *, now_seconds: float) -> Departure | None:
    """Return the departure of a module that somebody wants away or that rests away; None if it may stay."""
    wish = wish_for(situation.wishes, residence.module, home=situation.home)
    if wish is not None:
        away = wish.tier is not situation.home
        return _as_wished(situation, residence, wish, now_seconds=now_seconds) if away else None
    return None if residence.rests_at_home else _after_linger(situation, residence, now_seconds=now_seconds)


def _after_linger(situation: Situation, residence: Residence, *, now_seconds: float) -> Departure:
    departure = Departure(module=residence.module, authority=Authority.DEFAULT)
    obstacle = _obstacle(situation, residence, claims_count=True)
    if obstacle is not None:
        return replace(departure, obstacle=obstacle)
    own, usual = residence.linger_seconds, situation.wishes.linger_seconds
    due_seconds = _last_use_seconds(situation, residence) + (usual if own is None else min(own, usual))
    return replace(departure, due_seconds=due_seconds if due_seconds > now_seconds else None)


def _as_wished(situation: Situation, residence: Residence, wish: Wish, *, now_seconds: float) -> Departure:
    departure = Departure(module=residence.module, authority=wish.authority)
    unhurried = wish.urgency is Urgency.WHEN_UNCLAIMED
    due_seconds = _stay_end_seconds(situation, residence, unhurried=unhurried)
    if due_seconds is not None and due_seconds > now_seconds:
        departure = replace(departure, due_seconds=due_seconds)
    obstacle = _obstacle(situation, residence, claims_count=unhurried)
    if obstacle is None:
        return departure if departure.due_seconds is None else replace(departure, obstacle=CLAIMED)
    closes = departure.due_seconds is None and not _is_claimed(situation, residence, claims_count=unhurried)
    return replace(departure, obstacle=obstacle, closes=closes)


def _stay_end_seconds(situation: Situation, residence: Residence, *, unhurried: bool) -> float | None:
    """Return until when a guest stays, which stands for the claim of the request that is likely to follow.

    In a hurry, use does not extend it, and the next word to the same end ends it (see `directed`).
    """
    if not residence.guest:
        return None
    since_seconds = _last_use_seconds(situation, residence) if unhurried else residence.home_since_seconds
    return since_seconds + situation.wishes.stay_seconds


def _obstacle(situation: Situation, residence: Residence, *, claims_count: bool) -> str | None:
    if residence.module in situation.leases.held:
        return LEASED
    return CLAIMED if _is_claimed(situation, residence, claims_count=claims_count) else None


def _is_claimed(situation: Situation, residence: Residence, *, claims_count: bool) -> bool:
    """Tell whether somebody's interest keeps a module; what is kept for its contents is, whatever the need."""
    claimed = claims_count and residence.module in situation.leases.claims
    return claimed or residence.module in situation.leases.keeps


def _last_use_seconds(situation: Situation, residence: Residence) -> float:
    used_seconds = situation.leases.last_use_seconds.get(residence.module, residence.home_since_seconds)
    return max(used_seconds, residence.home_since_seconds)
