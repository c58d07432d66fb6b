"""The ledger: reservations of services that share a device."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_daemon.ledger import (
    Claim,
    Reservations,
    claim_of,
    divided,
    keep_or_renew,
    pool_bytes,
    reserve,
    reserved_bytes,
)
from memory_daemon.orders import Order
from memory_daemon.types import ModuleState, ModuleStatus, ServiceName, Tier, Urgency
from tests.fakes.memory_views import UNIX_SECONDS, away, module, service, used

FIRST, SECOND = ServiceName("first"), ServiceName("second")


def claim(
    service: ServiceName, *, floor: int = 0, held: int = 0, whole: int = 0, used: int = 0, staying: int = 0
) -> Claim:
    """Return a claim."""
    return Claim(
        service=service,
        floor_bytes=floor,
        held_bytes=held,
        whole_bytes=whole,
        used_bytes=used,
        staying_bytes=staying,
    )


def order(*, leaves: bool, urgency: Urgency = Urgency.WHEN_UNCLAIMED) -> Order:
    """Return an order for a module of 100 bytes, to disk or to host memory."""
    tier = Tier.DISK if leaves else Tier.HOST
    return Order(tier=tier, leaves=leaves, since_seconds=0.0, moves_before=0, size_bytes=100, urgency=urgency)


@st.composite
def some_claims(draw: st.DrawFn) -> tuple[Claim, ...]:
    """Draw claims of up to five services."""
    sizes = st.integers(min_value=0, max_value=1000)
    names = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=5))
    return tuple(
        claim(ServiceName(name), floor=draw(sizes), held=draw(sizes), whole=draw(sizes), used=draw(sizes))
        for name in names
    )


def test_pool_of_claims_is_what_is_free_and_held_without_critical() -> None:
    """Capacity less the demand of others is what is free and what governed services hold."""
    actual = pool_bytes((claim(FIRST, held=300), claim(SECOND, held=200)), free_bytes=600, critical_bytes=100)

    assert actual == 1000


def test_reserve_with_enough_gives_each_its_whole_and_shares_the_rest() -> None:
    """Nobody is held back while there is room."""
    actual = reserve((claim(FIRST, whole=300), claim(SECOND, whole=100)), 1000)

    assert Reservations(budgets={FIRST: 600, SECOND: 400}) == actual


def test_reserve_with_little_shares_fairly() -> None:
    """A small want is met, and the big one gets what is left."""
    actual = reserve((claim(FIRST, whole=900), claim(SECOND, whole=100)), 500)

    assert Reservations(budgets={FIRST: 400, SECOND: 100}) == actual


def test_reserve_with_less_than_the_floors_keeps_the_floors_and_tells() -> None:
    """A floor is a promise; what it promises beyond what is there is told."""
    actual = reserve((claim(FIRST, floor=400), claim(SECOND, floor=300)), 500)

    assert Reservations(budgets={FIRST: 400, SECOND: 300}, overdraft_bytes=200) == actual


def test_keep_or_renew_with_noise_keeps_the_budgets() -> None:
    """Budgets that would hardly change stay as they are."""
    before = {FIRST: 1000, SECOND: 1000}
    actual = keep_or_renew(before, Reservations(budgets={FIRST: 1050, SECOND: 1050}), 2100)

    assert before == actual.budgets


def test_keep_or_renew_with_less_than_handed_out_renews() -> None:
    """However small the change, budgets never sum up to more than is there."""
    new = Reservations(budgets={FIRST: 995, SECOND: 995})
    actual = keep_or_renew({FIRST: 1000, SECOND: 1000}, new, 1990)

    assert new == actual


def test_reserve_gives_what_is_used_before_what_is_idle() -> None:
    """An idle neighbour's modules never cost a busy service one of its own."""
    actual = reserve((claim(FIRST, whole=900, used=700), claim(SECOND, whole=900)), 1000)

    assert Reservations(budgets={FIRST: 850, SECOND: 150}) == actual


@pytest.mark.parametrize(
    ("configured", "step", "floor"), [(0, 0, 200), (0, 290, 290), (250, 290, 290), (400, 290, 400)]
)
def test_floor_of_a_claim_holds_the_largest_step_that_the_service_tells_of(
    configured: int, step: int, floor: int
) -> None:
    """A step needs several modules at once: a budget between it and the largest module would fail it for good."""
    view = service(module("t3", 200), module("scratch.t3", 90), floor_bytes=configured)
    view = replace(view, report=replace(view.report, largest_step_bytes=step))

    assert floor == claim_of(view, UNIX_SECONDS, 600.0).floor_bytes


def test_claim_of_a_report_tells_what_is_held_used_and_weighed() -> None:
    """What is pinned, claimed or used lately is in use; the largest module is the floor that nobody configured."""
    view = service(
        used("lately", 100),
        used("long ago", 200, ago=700.0),
        module("claimed", 30, claims=1),
        away("away", 40, pinned=True),
        module("elsewhere", 5000, home=Tier.DEVICE),
    )
    actual = claim_of(view, UNIX_SECONDS, 600.0)

    assert claim(view.service, floor=200, held=330, whole=370, used=170, staying=330) == actual


def test_claim_of_a_service_with_a_configured_floor_has_that() -> None:
    """A floor for a whole utterance is more than the largest module."""
    assert 250 == claim_of(service(module("m", 100), floor_bytes=250), UNIX_SECONDS, 600.0).floor_bytes


def test_module_on_its_way_home_takes_its_room_already() -> None:
    """The device has given the bytes when a restore begins; nobody else may count on them."""
    view = service(away("coming", 100, state=ModuleState.RESTORING), away("away", 10), used("home", 1))

    assert 101 == reserved_bytes(view)


def test_divided_hands_out_a_little_less_than_there_is() -> None:
    """A pool that shrinks a little needs no new budgets."""
    claims = (claim(FIRST, whole=1000), claim(SECOND, whole=1000))
    first = divided({}, claims, 1600)
    later = divided(first.budgets, claims, 1520)

    assert Reservations(budgets={FIRST: 750, SECOND: 750}) == first
    assert first == later


def test_divided_for_one_service_with_room_hands_out_nothing() -> None:
    """A service that is alone keeps its own budget while all that it has leaves `critical` free."""
    assert Reservations(budgets={}) == divided({SECOND: 5}, (claim(FIRST, whole=100),), 100)


@pytest.mark.parametrize(
    ("one", "pool", "budget"),
    [
        (claim(FIRST, floor=40, whole=1000, staying=0), 800, 750),
        (claim(FIRST, floor=40, whole=1000, staying=790), 800, 790),
        (claim(FIRST, floor=40, whole=1000, staying=900), 800, 900),
        (claim(FIRST, floor=400, whole=1000, staying=100), 160, 400),
        (claim(FIRST, floor=40, whole=1000, staying=1000), 800, None),
    ],
    ids=["the pool without the slack", "what stays", "never less than what stays", "the floor", "all of it"],
)
def test_divided_for_one_service_that_is_short_bounds_what_comes_back(
    one: Claim, pool: int, budget: int | None
) -> None:
    """Requests bring back what leaves `critical` free, or what one step needs; a budget sends nothing away."""
    assert budget == divided({}, (one,), pool).budgets.get(FIRST)


def test_divided_for_one_service_with_noise_keeps_the_budget() -> None:
    """A pool that breathes by less than the slack sends no directive."""
    one = claim(FIRST, floor=40, whole=1000, staying=300)
    budgets = divided({}, (one,), 800).budgets
    actual = [divided(budgets, (one,), pool).budgets for pool in (760, 840, 751, 890, 800)]

    assert [{FIRST: 750}] * 5 == actual


def test_divided_for_one_service_ends_its_budget_only_when_there_is_room_with_the_slack() -> None:
    """A pool that goes to and fro about what the modules weigh does not change the budget each time."""
    one = claim(FIRST, whole=1000)
    short = divided({}, (one,), 999).budgets
    actual = [dict(divided(short, (one,), pool).budgets) for pool in (1000, 1060, 1070)]

    assert [{FIRST: 937}, {FIRST: 937}, {}] == actual


@pytest.mark.parametrize(
    ("status", "given", "staying"),
    [
        (module("m"), None, 100),
        (away("m"), None, 0),
        (away("m", state=ModuleState.RESTORING), None, 100),
        (module("m"), order(leaves=True), 100),
        (module("m"), order(leaves=True, urgency=Urgency.WHEN_UNLEASED), 0),
        (away("m"), order(leaves=False), 100),
    ],
)
def test_claim_of_a_service_tells_what_stays(status: ModuleStatus, given: Order | None, staying: int) -> None:
    """What must leave in a hurry gives its room up; what may wait for its claims keeps it; what was called has it."""
    orders = {} if given is None else {status.module: given}

    assert staying == claim_of(service(status), UNIX_SECONDS, 600.0, orders).staying_bytes


def test_divided_renews_budgets_below_a_floor_that_has_grown() -> None:
    """A module that turns out to be larger when it is loaded raises its service's floor."""
    before = {FIRST: 100, SECOND: 100}
    actual = divided(before, (claim(FIRST, floor=110, whole=110), claim(SECOND)), 250)

    assert actual.budgets[FIRST] >= 110


def test_divided_tells_what_the_floors_promise_too_much() -> None:
    """The overdraft is counted against all that there is, and kept as long as it lasts."""
    claims = (claim(FIRST, floor=400), claim(SECOND, floor=300))
    first = divided({}, claims, 500)

    assert (200, 190) == (first.overdraft_bytes, divided(first.budgets, claims, 510).overdraft_bytes)


@settings(deadline=None, max_examples=200)
@given(claims=some_claims(), pools=st.lists(st.integers(min_value=0, max_value=5000), min_size=1, max_size=5))
def test_budgets_of_any_claims_stay_within_the_pool_and_above_the_floors(
    claims: tuple[Claim, ...], pools: list[int]
) -> None:
    """Whatever comes and goes, budgets sum up to the pool at most, unless the floors alone are more."""
    budgets: dict[ServiceName, int] = {}
    for pool in pools:
        kept = divided(budgets, claims, pool)
        budgets = dict(kept.budgets)

        assert sum(budgets.values()) - kept.overdraft_bytes <= pool
        assert all(budgets[one.service] >= one.floor_bytes for one in claims if budgets)


@settings(deadline=None, max_examples=200)
@given(claims=some_claims(), pool=st.integers(min_value=0, max_value=5000))
def test_reserve_for_any_claims_meets_every_use_before_any_idle_module(claims: tuple[Claim, ...], pool: int) -> None:
    """Nobody gets more than floor and use while another lacks what it uses."""
    budgets = reserve(claims, pool).budgets
    lacks = any(budgets[one.service] < one.used_bytes for one in claims)
    beyond = [one for one in claims if budgets[one.service] > max(one.floor_bytes, one.used_bytes) + len(claims)]

    assert not (lacks and beyond)
