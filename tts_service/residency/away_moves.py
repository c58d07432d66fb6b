"""Moves of modules that stay away from home: from host memory to disk, and back, where home is a device.

They take no room at home and are made for a wish alone, a tier at rest in the configuration included: by default a
module that is away stays where it is. A module that is away cannot be leased, so that only claims keep it in host
memory. Pure, as `placement` is, which asks this.
"""

from tts_service.residency.departures import BUDGET, CLAIMED
from tts_service.residency.situation import Move, Residence, Situation
from tts_service.residency.types import Authority, ModuleState, PendingMove, Tier, Urgency
from tts_service.residency.wishes import Wish, wish_for
from tts_service.types import ModuleName


def away_moves(
    situation: Situation, *, coming: frozenset[ModuleName]
) -> tuple[tuple[Move, ...], tuple[PendingMove, ...]]:
    """Split the moves beside home that somebody wants into those that can begin and those that wait.

    `coming` modules are wanted at home, and left alone until they are there.
    """
    moves: list[Move] = []
    delayed: list[PendingMove] = []
    for residence in situation.residences:
        wish = _wish(situation, residence)
        if wish is None or residence.module in coming:
            continue
        obstacle = _obstacle(situation, residence, wish)
        if obstacle is not None and wish.authority is Authority.DEFAULT:
            continue
        if obstacle is not None:
            delayed.append(PendingMove(module=residence.module, tier=wish.tier, reason=obstacle))
            continue
        moves.append(Move(module=residence.module, source=residence.tier, target=wish.tier, authority=wish.authority))
    return tuple(moves), tuple(delayed)


def _wish(situation: Situation, residence: Residence) -> Wish | None:
    """Return the wish for a module that rests away, if that is for another tier away from home."""
    wish = wish_for(situation.wishes, residence.module, home=situation.home) or _configured(residence)
    if wish is None or residence.state is not ModuleState.RESTING:
        return None
    wanted = situation.home not in (wish.tier, residence.tier) and wish.tier is not residence.tier
    return wish if wanted else None


def _configured(residence: Residence) -> Wish | None:
    """Return the configuration's wish for a module that it has rest somewhere: nobody waits for it."""
    if residence.rest_tier is None:
        return None
    return Wish(tier=residence.rest_tier, urgency=Urgency.WHEN_UNCLAIMED, authority=Authority.DEFAULT)


def _obstacle(situation: Situation, residence: Residence, wish: Wish) -> str | None:
    if wish.tier < residence.tier:
        # Nobody waits for it: while host memory is short, it is not tried again and again.
        short = situation.shortage is not None and situation.shortage.ceiling_bytes is None
        return BUDGET if short and residence.tier is Tier.DISK else None
    claimed = wish.urgency is Urgency.WHEN_UNCLAIMED and residence.module in situation.leases.claims
    return CLAIMED if claimed else None
