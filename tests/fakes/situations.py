"""Situations for tests of placement, said in few words."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from tts_service.residency.leases import Leases, Request
from tts_service.residency.situation import Residence, Situation
from tts_service.residency.types import Authority, Directive, ModuleState, Placement, Tier, Urgency
from tts_service.residency.wishes import Wishes
from tts_service.types import ModuleName

SIZES = {"a": 10, "b": 20, "c": 30, "d": 40}
NAMES = tuple(ModuleName(name) for name in SIZES)
NO_WISHES = Wishes(linger_seconds=10.0, stay_seconds=5.0)


def situation(
    home: Collection[str] = (),
    *,
    wishes: Wishes = NO_WISHES,
    budget: int | None = None,
    leased: Collection[str] = (),
    claimed: Collection[str] = (),
    last_use: Mapping[str, float] | None = None,
    waiting: Collection[Collection[str]] = (),
    rest_away: Collection[str] = (),
    states: Mapping[str, ModuleState] | None = None,
) -> Situation:
    """Return modules a to d of 10, 20, 30 and 40 bytes, of which some are at home; tickets count from 1."""
    leases = Leases(
        held=dict.fromkeys(map(ModuleName, leased), 1),
        claims=dict.fromkeys(map(ModuleName, claimed), 1),
        last_use_seconds={ModuleName(name): seconds for name, seconds in (last_use or {}).items()},
        waiting=tuple(
            Request(ticket=ticket, modules=frozenset(map(ModuleName, modules)), holds=True)
            for ticket, modules in enumerate(waiting, start=1)
        ),
    )
    residences = tuple(
        Residence(
            module=name,
            rests_at_home=name not in rest_away,
            tier=Tier.HOST if name in home else Tier.DISK,
            home_bytes=SIZES[name],
            state=(states or {}).get(name, ModuleState.RESTING),
        )
        for name in NAMES
    )
    wishes = wishes if budget is None else replace(wishes, static_budget_bytes=budget)
    return Situation(home=Tier.HOST, away=Tier.DISK, residences=residences, wishes=wishes, leases=leases)


def directed(
    *away: str,
    home: Collection[str] = (),
    urgency: Urgency = Urgency.WHEN_UNCLAIMED,
    budget: int | None = None,
    pins: Collection[str] = (),
) -> Wishes:
    """Return a directive's wishes, and operators' pins."""
    placements = (
        *(Placement(module=ModuleName(name), tier=Tier.DISK, urgency=urgency) for name in away),
        *(Placement(module=ModuleName(name), tier=Tier.HOST) for name in home),
    )
    directive = Directive(epoch=1, version=1, valid_for_seconds=10, budget_bytes=budget, placements=placements)
    return replace(NO_WISHES, directive=directive, pins=frozenset(map(ModuleName, pins)))


def guest(situation: Situation, module: str, *, since_seconds: float) -> Situation:
    """Return the situation with a module at home as a guest."""
    residences = tuple(
        replace(each, tier=Tier.HOST, guest=True, moved_by=Authority.DEMAND, home_since_seconds=since_seconds)
        if each.module == module
        else each
        for each in situation.residences
    )
    return replace(situation, residences=residences)


def device_situation(
    tiers: Mapping[str, Tier],
    *,
    wishes: Wishes = NO_WISHES,
    budget: int | None = None,
    leased: Collection[str] = (),
    claimed: Collection[str] = (),
    waiting: Collection[Collection[str]] = (),
    rest_away: Collection[str] = (),
    states: Mapping[str, ModuleState] | None = None,
    bound_for: Mapping[str, Tier] | None = None,
) -> Situation:
    """Return modules a to d whose home is a device, on disk if they are not named; each holds 1000 of the host."""
    given = situation(
        wishes=wishes,
        budget=budget,
        leased=leased,
        claimed=claimed,
        waiting=waiting,
        rest_away=rest_away,
        states=states,
    )
    residences = tuple(
        replace(
            each,
            tier=tiers.get(each.module, Tier.DISK),
            host_bytes=1000,
            bound_for=(bound_for or {}).get(each.module),
        )
        for each in given.residences
    )
    return replace(given, home=Tier.DEVICE, away=Tier.HOST, residences=residences)


def placed(tiers: Mapping[str, Tier], *, urgency: Urgency = Urgency.WHEN_UNCLAIMED) -> Wishes:
    """Return a directive's wishes for any tiers."""
    placements = tuple(Placement(module=ModuleName(name), tier=tier, urgency=urgency) for name, tier in tiers.items())
    return replace(NO_WISHES, directive=Directive(epoch=1, version=1, valid_for_seconds=10, placements=placements))
