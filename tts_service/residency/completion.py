"""How far a directive is done, and what an operator keeps from being done. Pure, as `placement` is, which asks this.

What an operator overrules is not the directive's to do: the rest of it can be done without, but nobody is left to
believe that it was done.
"""

from tts_service.residency.situation import Residence, Situation, fits, residence_of
from tts_service.residency.types import ModuleState, PendingMove, Placement, Tier
from tts_service.residency.wishes import operator_tier, pinned

OPERATOR = "operator"


def overruled(situation: Situation) -> tuple[PendingMove, ...]:
    """Return the directive's wishes that an operator's overrule, as moves that wait for the operator."""
    return tuple(
        PendingMove(module=placement.module, tier=placement.tier, reason=OPERATOR)
        for placement in _placements(situation)
        if _is_overruled(situation, placement) and residence_of(situation, placement.module).tier is not placement.tier
    )


def is_done(situation: Situation) -> bool:
    """Tell whether the directive in force is done, but for what an operator overrules; False if there is none."""
    if situation.wishes.directive is None:
        return False
    at_home = frozenset(each.module for each in situation.residences if each.tier is situation.home)
    kept = pinned(situation.wishes, home=situation.home)
    return (at_home <= kept or fits(situation, at_home)) and all(
        _is_overruled(situation, placement) or _rests_in(residence_of(situation, placement.module), placement.tier)
        for placement in _placements(situation)
    )


def _placements(situation: Situation) -> tuple[Placement, ...]:
    directive = situation.wishes.directive
    return () if directive is None else directive.placements


def _is_overruled(situation: Situation, placement: Placement) -> bool:
    tier = operator_tier(situation.wishes, placement.module, home=situation.home)
    return tier is not None and tier is not placement.tier


def _rests_in(residence: Residence, tier: Tier) -> bool:
    return residence.state is ModuleState.RESTING and residence.tier is tier
