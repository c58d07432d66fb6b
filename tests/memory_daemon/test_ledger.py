"""The ledger: reservations of services that share a device."""

from hypothesis import given, settings
from hypothesis import strategies as st

from memory_daemon.ledger import Claim, Reservations, keep_or_renew, pool_bytes, reserve
from memory_daemon.types import ServiceName

FIRST, SECOND = ServiceName("first"), ServiceName("second")


def claim(service: ServiceName, *, floor: int = 0, held: int = 0, whole: int = 0) -> Claim:
    """Return a claim."""
    return Claim(service=service, floor_bytes=floor, held_bytes=held, whole_bytes=whole)


@st.composite
def some_claims(draw: st.DrawFn) -> tuple[Claim, ...]:
    """Draw claims of up to five services."""
    sizes = st.integers(min_value=0, max_value=1000)
    names = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=5))
    return tuple(claim(ServiceName(name), floor=draw(sizes), held=draw(sizes), whole=draw(sizes)) for name in names)


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


@settings(deadline=None, max_examples=200)
@given(claims=some_claims(), pools=st.lists(st.integers(min_value=0, max_value=5000), min_size=1, max_size=5))
def test_budgets_of_any_claims_stay_within_the_pool_and_above_the_floors(
    claims: tuple[Claim, ...], pools: list[int]
) -> None:
    """Whatever comes and goes, budgets sum up to the pool at most, unless the floors alone are more."""
    budgets: dict[ServiceName, int] = {}
    for pool in pools:
        kept = keep_or_renew(budgets, reserve(claims, pool), pool)
        budgets = dict(kept.budgets)

        assert sum(budgets.values()) - kept.overdraft_bytes <= pool
        assert all(budgets[one.service] >= one.floor_bytes for one in claims)
