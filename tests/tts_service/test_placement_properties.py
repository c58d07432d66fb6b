"""What decisions never do, whatever the situation."""

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
    home_bytes,
    occupied_bytes,
    residence_of,
    settled_home,
)
from tts_service.residency.types import Directive, ModuleState, Placement, Tier, Urgency
from tts_service.residency.wishes import Wishes, budget_bytes, pinned
from tts_service.types import ModuleName

STATES = (
    (Tier.HOST, ModuleState.RESTING),
    (Tier.HOST, ModuleState.EVICTING),
    (Tier.DISK, ModuleState.RESTING),
    (Tier.DISK, ModuleState.RESTORING),
    (Tier.DISK, ModuleState.BROKEN),
)
SUBSETS = st.frozensets(st.sampled_from(NAMES))
BUDGETS = st.none() | st.integers(0, 110)


def _counts(modules: frozenset[ModuleName]) -> dict[ModuleName, int]:
    return dict.fromkeys(modules, 1)


@st.composite
def directives(draw: st.DrawFn) -> Directive | None:
    """Any directive for the modules, or none."""
    placements = tuple(
        Placement(
            module=name,
            tier=draw(st.sampled_from((Tier.HOST, Tier.DISK))),
            urgency=draw(st.sampled_from(Urgency)),
        )
        for name in sorted(draw(SUBSETS))
    )
    directive = Directive(epoch=1, version=1, valid_for_seconds=10, budget_bytes=draw(BUDGETS), placements=placements)
    return draw(st.none() | st.just(directive))


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Any situation that moves can have led to: only what rests at home is leased."""
    where = {name: draw(st.sampled_from(STATES)) for name in NAMES}
    residences = tuple(
        Residence(
            module=name,
            rests_at_home=draw(st.booleans()),
            tier=tier,
            state=state,
            home_bytes=SIZES[name],
            home_since_seconds=draw(st.floats(0, 20)),
            guest=draw(st.booleans()),
        )
        for name, (tier, state) in where.items()
    )
    resting = frozenset(name for name, state in where.items() if state == STATES[0])
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
        placed={name: draw(st.sampled_from((Tier.HOST, Tier.DISK))) for name in draw(SUBSETS)},
        directive=draw(directives()),
        linger_seconds=5.0,
        stay_seconds=2.0,
    )
    return Situation(
        home=Tier.HOST,
        away=Tier.DISK,
        residences=residences,
        wishes=wishes,
        leases=leases,
        leaving=draw(SUBSETS) & resting,
    )


@settings(max_examples=150, deadline=None)
@given(situations(), st.floats(0, 40))
def test_leased_pinned_or_moving_modules_never_set_out(given: Situation, now_seconds: float) -> None:
    """Whatever is wanted, a module in use stays, a pinned one does not leave, and one on its way is left alone."""
    kept = pinned(given.wishes, home=Tier.HOST)
    wrong = [
        move
        for move in decide(given, now_seconds=now_seconds).moves
        if move.module in given.leases.held
        or (move.module in kept and move.target is Tier.DISK)
        or residence_of(given, move.module).state in (ModuleState.RESTORING, ModuleState.EVICTING)
        or move.source is not residence_of(given, move.module).tier
    ]

    assert [] == wrong


@settings(max_examples=150, deadline=None)
@given(situations(), st.floats(0, 40))
def test_restores_fit_the_budget_beside_all_that_is_there(given: Situation, now_seconds: float) -> None:
    """Nothing sets out for home unless its bytes fit, physically, with everything that is home or on its way."""
    decision = decide(given, now_seconds=now_seconds)
    coming_bytes = sum(SIZES[move.module] for move in decision.moves if move.target is Tier.HOST)
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
            target = Tier.HOST if residence.state is ModuleState.RESTORING else Tier.DISK
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
    pinned_bytes = sum(SIZES[module] for module in pinned(given.wishes, home=Tier.HOST))

    assert decision.leaving <= given.leases.held.keys()
    assert budget is None or staying_bytes <= max(budget, pinned_bytes)
