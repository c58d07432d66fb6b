"""What decisions never do, whatever the situation, with a home on the host and with one on a device."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.situations import NAMES, SIZES
from tts_service.residency import leases as queue
from tts_service.residency.leases import Leases, Request
from tts_service.residency.placement import Decision, decide
from tts_service.residency.situation import (
    Move,
    Residence,
    Situation,
    arrive,
    begin_move,
    destination,
    home_bytes,
    occupied_bytes,
    residence_of,
    settled_home,
)
from tts_service.residency.types import Directive, ModuleState, Placement, Tier, Urgency
from tts_service.residency.wishes import Wishes, budget_bytes, pinned, wish_for
from tts_service.types import ModuleName

MACHINES = ((Tier.HOST, Tier.DISK), (Tier.DEVICE, Tier.HOST, Tier.DISK))
SUBSETS = st.frozensets(st.sampled_from(NAMES))
BUDGETS = st.none() | st.integers(0, 110)


def _counts(modules: frozenset[ModuleName]) -> dict[ModuleName, int]:
    return dict.fromkeys(modules, 1)


@st.composite
def directives(draw: st.DrawFn, tiers: tuple[Tier, ...]) -> Directive | None:
    """Any directive for the modules, or none."""
    placements = tuple(
        Placement(
            module=name,
            tier=draw(st.sampled_from(tiers)),
            urgency=draw(st.sampled_from(Urgency)),
        )
        for name in sorted(draw(SUBSETS))
    )
    directive = Directive(epoch=1, version=1, valid_for_seconds=10, budget_bytes=draw(BUDGETS), placements=placements)
    return draw(st.none() | st.just(directive))


def _states(tiers: tuple[Tier, ...]) -> list[tuple[Tier, ModuleState, Tier | None]]:
    """Return where modules can be, what they do there, and where they are going."""
    moving = [
        (source, ModuleState.RESTORING if target < source else ModuleState.EVICTING, target)
        for source in tiers
        for target in tiers
        if target is not source
    ]
    resting = [(tier, ModuleState.RESTING, None) for tier in tiers]
    return [*resting, *moving, *((tier, ModuleState.BROKEN, None) for tier in tiers[1:])]


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Any situation that moves can have led to: only what rests at home is leased."""
    tiers = draw(st.sampled_from(MACHINES))
    where = {name: draw(st.sampled_from(_states(tiers))) for name in NAMES}
    residences = tuple(
        Residence(
            module=name,
            rests_at_home=draw(st.booleans()),
            tier=tier,
            state=state,
            home_bytes=SIZES[name],
            home_since_seconds=draw(st.floats(0, 20)),
            guest=draw(st.booleans()),
            bound_for=target,
        )
        for name, (tier, state, target) in where.items()
    )
    resting = frozenset(name for name, state in where.items() if state[:2] == (tiers[0], ModuleState.RESTING))
    leases = Leases(
        held=_counts(draw(SUBSETS) & resting),
        claims=_counts(draw(SUBSETS)),
        last_use_seconds={name: draw(st.floats(0, 20)) for name in draw(SUBSETS)},
        waiting=tuple(
            Request(ticket=ticket, modules=modules, holds=draw(st.booleans()))
            for ticket, modules in enumerate(draw(st.lists(SUBSETS.filter(bool), max_size=4)))
        ),
    )
    wishes = Wishes(
        static_budget_bytes=draw(BUDGETS),
        pins=draw(SUBSETS) if draw(st.booleans()) else frozenset(),
        placed={name: draw(st.sampled_from(tiers)) for name in draw(SUBSETS)},
        directive=draw(directives(tiers)),
        linger_seconds=5.0,
        stay_seconds=2.0,
    )
    return Situation(
        home=tiers[0],
        away=tiers[1],
        residences=residences,
        wishes=wishes,
        leases=leases,
        leaving=draw(SUBSETS) & resting,
    )


@settings(max_examples=150, deadline=None)
@given(situations(), st.floats(0, 40))
def test_leased_pinned_or_moving_modules_never_set_out(given: Situation, now_seconds: float) -> None:
    """Whatever is wanted, a module in use stays, a pinned one does not leave, and one on its way is left alone."""
    kept = pinned(given.wishes, home=given.home)
    wrong = [
        move
        for move in decide(given, now_seconds=now_seconds).moves
        if move.module in given.leases.held
        or (move.module in kept and move.target is not given.home)
        or residence_of(given, move.module).state in (ModuleState.RESTORING, ModuleState.EVICTING)
        or move.source is not residence_of(given, move.module).tier
    ]

    assert [] == wrong


@settings(max_examples=150, deadline=None)
@given(situations(), st.floats(0, 40))
def test_restores_fit_the_budget_beside_all_that_is_there(given: Situation, now_seconds: float) -> None:
    """Nothing sets out for home unless its bytes fit, physically, with everything that is home or on its way."""
    decision = decide(given, now_seconds=now_seconds)
    coming_bytes = sum(SIZES[move.module] for move in decision.moves if move.target is given.home)
    budget = budget_bytes(given.wishes)

    assert not coming_bytes or budget is None or occupied_bytes(given) + coming_bytes <= budget


@settings(max_examples=150, deadline=None)
@given(situations(), st.floats(0, 40))
def test_ready_modules_rest_at_home_and_are_not_sent_away(given: Situation, now_seconds: float) -> None:
    """What may be leased is at home, and neither leaving nor about to."""
    decision = decide(given, now_seconds=now_seconds)
    moving = {move.module for move in decision.moves}

    assert all(settled_home(given, residence_of(given, module)) for module in decision.ready)
    assert decision.ready.isdisjoint(moving | decision.leaving)


@settings(max_examples=150, deadline=None)
@given(situations(), st.floats(0, 40))
def test_every_move_goes_somewhere_else_and_no_module_sets_out_twice(given: Situation, now_seconds: float) -> None:
    """One decision has at most one move for a module, from where it is to another tier."""
    moves = decide(given, now_seconds=now_seconds).moves

    assert all(move.source is not move.target for move in moves)
    assert len(moves) == len({move.module for move in moves})


@settings(max_examples=150, deadline=None)
@given(situations(), st.floats(0, 40))
def test_claimed_module_goes_to_disk_only_in_a_hurry_or_from_home(given: Situation, now_seconds: float) -> None:
    """An open utterance's interest keeps a module in host memory, whoever wants it on disk without a hurry."""
    claimed = [
        move.module
        for move in decide(given, now_seconds=now_seconds).moves
        if move.module in given.leases.claims and move.target > move.source is not given.home
    ]
    wishes = [wish_for(given.wishes, module, home=given.home) for module in claimed]

    assert all(wish is not None and wish.urgency is Urgency.WHEN_UNLEASED for wish in wishes)


@settings(max_examples=150, deadline=None)
@given(situations())
def test_every_module_that_rests_away_is_in_the_end_where_it_is_wanted(given: Situation) -> None:
    """Once nobody leases or claims, modules that somebody wants in a tier away from home are in exactly that one."""
    given = replace(given, leases=replace(given.leases, held={}, claims={}))
    arrived, _ = _followed(given, 100.0)
    situation, _ = _followed(arrived, 200.0)
    wishes = {each.module: wish_for(situation.wishes, each.module, home=given.home) for each in situation.residences}
    wrong = [
        each.module
        for each in situation.residences
        if (wish := wishes[each.module]) is not None
        and wish.tier is not given.home
        and wish.tier is not each.tier
        and each.state is ModuleState.RESTING
    ]

    assert [] == wrong


@settings(max_examples=100, deadline=None)
@given(situations(), st.floats(0, 40))
def test_same_situation_gives_the_same_decision(given: Situation, now_seconds: float) -> None:
    """Nothing but the situation and the time counts."""
    again = replace(given, residences=tuple(replace(each) for each in given.residences))

    assert decide(given, now_seconds=now_seconds) == decide(again, now_seconds=now_seconds)


def _made(situation: Situation, move: Move, now_seconds: float) -> Situation:
    return arrive(begin_move(situation, move), move, home_bytes=SIZES[move.module], now_seconds=now_seconds)


def _landed(situation: Situation, now_seconds: float) -> Situation:
    """Let everything that is on its way arrive."""
    for residence in situation.residences:
        if residence.state in (ModuleState.RESTORING, ModuleState.EVICTING):
            target = destination(situation, residence)
            assert target is not None
            move = Move(module=residence.module, source=residence.tier, target=target, authority=residence.moved_by)
            situation = arrive(situation, move, home_bytes=residence.home_bytes, now_seconds=now_seconds)
    return situation


def _followed(situation: Situation, now_seconds: float) -> tuple[Situation, Decision]:
    """Decide, refuse, grant and move until nothing follows; the leases that are granted end at once."""
    situation = _landed(situation, now_seconds)
    for _ in range(50):
        decision = decide(situation, now_seconds=now_seconds)
        situation = replace(situation, leaving=decision.leaving)
        refused = frozenset(each.request.ticket for each in decision.hopeless)
        leases = queue.withdraw(situation.leases, refused)
        granted = queue.grantable(leases, decision.ready)
        for request in granted:
            leases = queue.grant(leases, replace(request, holds=False), now_seconds=now_seconds)
        situation = replace(situation, leases=leases)
        for move in decision.moves:
            situation = _made(situation, move, now_seconds)
        if not decision.moves and not granted and not refused:
            return situation, decision
    raise AssertionError("decisions do not converge")


@settings(max_examples=150, deadline=None)
@given(situations())
def test_decisions_converge_and_serve_everybody_once_leases_end(given: Situation) -> None:
    """When the steps of now have ended and time has passed, all requests are served or refused, and nothing moves."""
    given = replace(given, leases=replace(given.leases, held={}))
    arrived, _ = _followed(given, 100.0)
    situation, decision = _followed(arrived, 200.0)

    assert ((), (), None) == (situation.leases.waiting, decision.moves, decision.wake_seconds)


@settings(max_examples=150, deadline=None)
@given(situations())
def test_what_is_at_home_in_the_end_fits_the_budget_but_for_leases_and_pins(given: Situation) -> None:
    """With leases that last, what exceeds the budget is leased and leaving, or pinned."""
    situation, decision = _followed(given, 100.0)
    budget = budget_bytes(given.wishes)
    staying_bytes = home_bytes(situation) - sum(SIZES[module] for module in decision.leaving)
    pinned_bytes = sum(SIZES[module] for module in pinned(given.wishes, home=given.home))

    assert decision.leaving <= given.leases.held.keys()
    assert budget is None or staying_bytes <= max(budget, pinned_bytes)
