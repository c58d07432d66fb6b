"""Decides what moves. Same situation and time, same decision; nothing here waits, measures or moves.

Rules, in their order
1. A leased module never moves. A module on its way is left alone until it has arrived.
2. Requests that wait are served first come, first served. What the first one needs, and what an operator pinned, stays
   or comes home. If the budget does not hold that beside the rest, others make room: coldest unclaimed first, then
   claimed. Those of them that are leased take no new leases until they have left, so that the first request is served
   in a bounded number of steps. Later requests may use room that is left, but nobody makes room for them yet.
3. A request that the budget cannot hold beside what is pinned is hopeless and told so.
4. Modules leave for the operator, for a directive, or because they rest away, as soon as no request needs them, they
   are not leased and, but for WHEN_UNLEASED, not claimed.
5. Modules come home in the background only into room that is left, and a broken one only for a request.
6. Nothing sets out for home unless its bytes fit beside all that is physically there. While somebody speaks, what
   nobody waits for comes from host memory one after the other, with pauses (see `pauses`).
7. Modules that stay away move between the tiers beside home as rule 4 has it (see `away_moves`).
"""

from dataclasses import dataclass, replace

from tts_service.residency.away_moves import away_moves
from tts_service.residency.completion import is_done, overruled
from tts_service.residency.departures import BUDGET, Departure, can_go, goes_anyway, making_room, voluntary
from tts_service.residency.leases import Request
from tts_service.residency.making_room import fits_for_good, room_limit_bytes, victims
from tts_service.residency.pauses import is_paused, pauses
from tts_service.residency.situation import (
    Move,
    Residence,
    Situation,
    at_home_or_coming,
    away_from_home,
    bytes_of,
    destination,
    fits,
    held_up,
    occupied_bytes,
    residence_of,
    settled_home,
)
from tts_service.residency.types import Authority, ModuleState, PendingMove
from tts_service.residency.wishes import Wish, budget_authority, pinned, wish_for
from tts_service.types import ModuleName

MOVING = "moving"

SHORTAGE_SECONDS = 5.0
"""How long a shortage of memory is believed beyond its last retry. Restores that nobody waits for rest so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hopeless:
    """A request that can never be served, with the bytes that it would need."""

    request: Request
    needed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows from a situation.

    `moves` can begin now. `ready` modules may be leased. `leaving` ones take no new leases. `restless` ones want to
    leave as soon as they can, so that the end of a lease or claim on them asks for a new decision. `wake_seconds` is
    when time alone changes something. `settled`: the directive in force is done completely, but for what an operator
    overrules. `roomless` are the tickets of requests that wait for want of memory, not for a move.
    """

    moves: tuple[Move, ...] = ()
    pending: tuple[PendingMove, ...] = ()
    ready: frozenset[ModuleName] = frozenset()
    leaving: frozenset[ModuleName] = frozenset()
    restless: frozenset[ModuleName] = frozenset()
    hopeless: tuple[Hopeless, ...] = ()
    wake_seconds: float | None = None
    settled: bool = False
    roomless: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is to be at home in the end (`planned`), who must leave for that, and who comes, the most urgent first."""

    planned: frozenset[ModuleName]
    victims: frozenset[ModuleName]
    coming: tuple[tuple[ModuleName, Authority], ...]


def decide(situation: Situation, *, now_seconds: float) -> Decision:
    """Decide what moves now, what is wanted but cannot move yet, and who may lease."""
    situation = _without_old_shortage(situation, now_seconds=now_seconds)
    hopeless = _hopeless(situation)
    refused = {each.request.ticket for each in hopeless}
    waiting = tuple(request for request in situation.leases.waiting if request.ticket not in refused)
    plan = _plan(situation, waiting)
    departures = _departures(situation, plan, waiting, now_seconds=now_seconds)
    evictions = tuple(_leave(situation, each) for each in departures if can_go(each))
    restores, blocked, pausing = _restores(situation, plan, now_seconds=now_seconds)
    transfers, delayed = away_moves(situation, coming=frozenset(module for module, _ in plan.coming))
    setting_out = frozenset(move.module for move in evictions)
    closed = plan.victims | frozenset(each.module for each in departures if each.closes)
    return Decision(
        moves=(*evictions, *restores, *transfers),
        pending=(
            *_in_flight(situation),
            *_held_back(situation, departures),
            *blocked,
            *pausing,
            *delayed,
            *overruled(situation),
        ),
        ready=_settled_home(situation) - closed - setting_out,
        leaving=closed - setting_out,
        restless=frozenset(each.module for each in departures) - setting_out,
        hopeless=hopeless,
        wake_seconds=_wake_seconds(situation, departures, pauses_end=bool(pausing), now_seconds=now_seconds),
        settled=not evictions and not restores and not transfers and is_done(situation),
        roomless=_roomless(situation, plan, waiting, blocked),
    )


def left_by(situation: Situation, decision: Decision) -> Situation:
    """Note which modules a decision has taking no new leases."""
    changes = decision.leaving != situation.leaving
    return replace(situation, leaving=decision.leaving) if changes else situation


def _hopeless(situation: Situation) -> tuple[Hopeless, ...]:
    kept = pinned(situation.wishes, home=situation.home)
    return tuple(
        Hopeless(request=request, needed_bytes=bytes_of(situation, request.modules | kept))
        for request in situation.leases.waiting
        if not fits(situation, request.modules | kept)
    )


def _plan(situation: Situation, waiting: tuple[Request, ...]) -> _Plan:
    """Plan who is to be at home: the first request and the pins whatever it takes, others as far as there is room."""
    first = waiting[0].modules if waiting else frozenset()
    keepers = first | pinned(situation.wishes, home=situation.home) | situation.leases.keeps.keys()
    leaving = victims(situation, keepers)
    planned = keepers | (at_home_or_coming(situation) - leaving)
    coming = dict.fromkeys(_in_order(situation, first), Authority.DEMAND)
    for request in waiting[1:]:
        if fits_for_good(situation, planned | request.modules):
            planned |= request.modules
            coming |= dict.fromkeys(_in_order(situation, request.modules), Authority.DEMAND)
    for module, authority in _wanted_home(situation):
        if fits_for_good(situation, planned | {module}):
            planned |= {module}
        coming.setdefault(module, authority)
    return _Plan(planned=planned, victims=leaving, coming=tuple(coming.items()))


def _wanted_home(situation: Situation) -> tuple[tuple[ModuleName, Authority], ...]:
    """Return the modules that somebody wants at home without needing them now, operators' first."""
    wishes: list[tuple[ModuleName, Wish]] = []
    for residence in situation.residences:
        wish = wish_for(situation.wishes, residence.module, home=situation.home)
        if wish is not None and wish.tier is situation.home and residence.state is not ModuleState.BROKEN:
            wishes.append((residence.module, wish))
    wishes.sort(key=lambda each: each[1].authority is not Authority.OPERATOR)
    return tuple((module, wish.authority) for module, wish in wishes)


def _departures(
    situation: Situation, plan: _Plan, waiting: tuple[Request, ...], *, now_seconds: float
) -> tuple[Departure, ...]:
    needed: frozenset[ModuleName] = frozenset().union(*(request.modules for request in waiting))
    authority = Authority.DEMAND if waiting or situation.growths else budget_authority(situation.wishes)
    departures: list[Departure] = []
    for residence in situation.residences:
        if residence.module in plan.victims:
            departures.append(making_room(situation, residence, authority))
        elif settled_home(situation, residence):
            departure = voluntary(situation, residence, now_seconds=now_seconds)
            if departure is not None and (residence.module not in needed or goes_anyway(situation, departure)):
                departures.append(departure)
    return tuple(departures)


def _leave(situation: Situation, departure: Departure) -> Move:
    wish = wish_for(situation.wishes, departure.module, home=situation.home)
    away = away_from_home(situation, residence_of(situation, departure.module))
    target = wish.tier if wish is not None and wish.tier is not situation.home else away
    return Move(module=departure.module, source=situation.home, target=target, authority=departure.authority)


def _restores(
    situation: Situation, plan: _Plan, *, now_seconds: float
) -> tuple[tuple[Move, ...], tuple[PendingMove, ...], tuple[PendingMove, ...]]:
    """Split those who come into those who set out now, those who wait for room, and those who pause."""
    occupied = occupied_bytes(situation)
    paused = False
    moves: list[Move] = []
    blocked: list[PendingMove] = []
    pausing: list[PendingMove] = []
    for module, authority in plan.coming:
        residence = residence_of(situation, module)
        if residence.tier is situation.home or destination(situation, residence) is not None:
            continue
        limit = _room_bytes(situation, residence, authority, now_seconds=now_seconds)
        unhurried = pauses(situation, residence, authority)
        if module not in plan.planned or (limit is not None and occupied + residence.home_bytes > limit):
            blocked.append(PendingMove(module=module, tier=situation.home, reason=BUDGET))
        elif unhurried and (paused or is_paused(situation, now_seconds=now_seconds)):
            pausing.append(PendingMove(module=module, tier=situation.home, reason=MOVING))
        else:
            moves.append(Move(module=module, source=residence.tier, target=situation.home, authority=authority))
            occupied += residence.home_bytes
            paused = paused or unhurried
    return tuple(moves), tuple(blocked), tuple(pausing)


def _roomless(
    situation: Situation, plan: _Plan, waiting: tuple[Request, ...], blocked: tuple[PendingMove, ...]
) -> frozenset[int]:
    """Return the tickets of those who wait for room: modules found none, are in no plan, or must make it."""
    short = plan.victims | {move.module for move in blocked}
    if situation.shortage is not None:
        away = (each for each in situation.residences if not settled_home(situation, each))
        short |= {each.module for each in away if held_up(situation, each)}
    return frozenset(
        request.ticket
        for request in waiting
        if not short.isdisjoint(request.modules) or not request.modules <= plan.planned
    ) | {growth.ticket for growth in situation.growths}


def _room_bytes(situation: Situation, residence: Residence, authority: Authority, *, now_seconds: float) -> int | None:
    """Return what may be at home physically, None for no bound; nothing while memory is short."""
    if situation.shortage is not None and held_up(situation, residence):
        unhurried = authority is not Authority.DEMAND
        if unhurried or now_seconds < situation.shortage.retry_seconds:
            return -1
    return room_limit_bytes(situation)


def _without_old_shortage(situation: Situation, *, now_seconds: float) -> Situation:
    shortage = situation.shortage
    old = shortage is not None and now_seconds >= shortage.retry_seconds + SHORTAGE_SECONDS
    return replace(situation, shortage=None) if old else situation


def _settled_home(situation: Situation) -> frozenset[ModuleName]:
    return frozenset(each.module for each in situation.residences if settled_home(situation, each))


def _in_order(situation: Situation, modules: frozenset[ModuleName]) -> tuple[ModuleName, ...]:
    """Return modules as they come: what the first stage needs, its scratch memory and its weights, before all others.

    Then in the order of the data path, scratch memory before weights: it takes no time, and behind the weights of the
    whole data path it would keep its stage waiting for all of them.
    """
    wanted = [residence for residence in situation.residences if residence.module in modules]
    scratch = [residence.module for residence in wanted if residence.is_scratch]
    weights = [residence.module for residence in wanted if not residence.is_scratch]
    return (*scratch[:1], *weights[:1], *scratch[1:], *weights[1:])


def _in_flight(situation: Situation) -> tuple[PendingMove, ...]:
    moving = (residence for residence in situation.residences if residence.state is not ModuleState.RESTING)
    targets = ((residence.module, destination(situation, residence)) for residence in moving)
    return tuple(
        PendingMove(module=module, tier=target, reason=MOVING) for module, target in targets if target is not None
    )


def _held_back(situation: Situation, departures: tuple[Departure, ...]) -> tuple[PendingMove, ...]:
    """Return the departures that somebody wants and that cannot be yet; one by default is nobody's wish."""
    return tuple(
        PendingMove(module=each.module, tier=_leave(situation, each).target, reason=each.obstacle)
        for each in departures
        if each.obstacle is not None and each.authority is not Authority.DEFAULT
    )


def _wake_seconds(
    situation: Situation, departures: tuple[Departure, ...], *, pauses_end: bool, now_seconds: float
) -> float | None:
    times = [each.due_seconds for each in departures if each.due_seconds is not None]
    if pauses_end:
        times.append(situation.paused_until_seconds)
    if situation.shortage is not None:
        times += [situation.shortage.retry_seconds, situation.shortage.retry_seconds + SHORTAGE_SECONDS]
    return min((time for time in times if time > now_seconds), default=None)
