"""Leases, claims and the queue for them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_service.residency import leases
from tts_service.residency.leases import Leases, Request
from tts_service.types import ModuleName

A, B, C = ModuleName("a"), ModuleName("b"), ModuleName("c")
ALL = frozenset({A, B, C})

MODULE_SETS = st.frozensets(st.sampled_from((A, B, C)), min_size=1)


def _request(ticket: int, *modules: ModuleName, holds: bool = True) -> Request:
    return Request(ticket=ticket, modules=frozenset(modules), holds=holds)


def _queue(*requests: Request) -> Leases:
    queued = Leases()
    for request in requests:
        queued = leases.ask(queued, request)
    return queued


def test_lease_begun_twice_and_ended_once_is_still_held() -> None:
    """A module is shared: it is free only when every lease on it has ended."""
    held = leases.begin(Leases(), frozenset({A, B}), now_seconds=1.0)
    held = leases.begin(held, frozenset({A}), now_seconds=2.0)
    held = leases.end(held, frozenset({A, B}))

    assert {A: 1} == held.held


def test_lease_begun_counts_a_use_and_its_time() -> None:
    """Uses and the time of the last one stay after a lease has ended."""
    used = leases.begin(Leases(), frozenset({A}), now_seconds=1.0)
    used = leases.end(leases.begin(used, frozenset({A}), now_seconds=5.0), frozenset({A}))

    assert ({A: 2}, {A: 5.0}) == (used.uses, used.last_use_seconds)


def test_lease_ended_more_often_than_begun_is_a_programmer_error() -> None:
    """Counts never go below zero."""
    with pytest.raises(AssertionError, match="more often"):
        leases.end(Leases(), frozenset({A}))


def test_claims_are_counted_apart_from_leases() -> None:
    """A claim is no lease."""
    claimed = leases.claim(leases.claim(Leases(), frozenset({A})), frozenset({A, B}))
    claimed = leases.release(claimed, frozenset({A}))

    assert ({A: 1, B: 1}, {}) == (claimed.claims, claimed.held)


def test_request_whose_modules_are_not_all_ready_waits_whole() -> None:
    """Nobody gets one module while waiting for another."""
    queued = _queue(_request(1, A, B))

    assert () == leases.grantable(queued, frozenset({A}))


def test_request_whose_modules_are_ready_passes_one_that_waits_for_others() -> None:
    """A step on modules at home does not wait for somebody else's restore."""
    first, second = _request(1, A, B), _request(2, A)

    assert (second,) == leases.grantable(_queue(first, second), frozenset({A}))


def test_requests_for_the_same_modules_are_served_in_the_order_they_came() -> None:
    """First come, first served."""
    requests = tuple(_request(ticket, A) for ticket in (3, 1, 2))

    assert requests == leases.grantable(_queue(*requests), frozenset({A}))


def test_request_that_does_not_hold_is_served_without_a_lease() -> None:
    """Preparing brings modules home and leaves no trace."""
    request = _request(1, A, holds=False)
    served = leases.grant(_queue(request), request, now_seconds=1.0)

    assert ((), {}, {}) == (served.waiting, served.held, served.uses)


def test_request_granted_begins_its_lease() -> None:
    """A request leaves the queue with a lease on all its modules."""
    request = _request(1, A, B)
    served = leases.grant(_queue(request), request, now_seconds=1.0)

    assert ((), {A: 1, B: 1}) == (served.waiting, served.held)


def test_request_withdrawn_leaves_the_others_in_their_order() -> None:
    """A client that goes away does not disturb the queue."""
    queued = leases.withdraw(_queue(_request(1, A), _request(2, B), _request(3, C)), frozenset({2, 99}))

    assert (1, 3) == tuple(request.ticket for request in queued.waiting)


@settings(deadline=None, max_examples=60)
@given(st.lists(MODULE_SETS, max_size=12), st.randoms(use_true_random=False))
def test_leases_after_any_order_of_ends_are_all_free(taken: list[frozenset[ModuleName]], chance: object) -> None:
    """However leases and claims overlap, nothing is left when all have ended."""
    held = Leases()
    for modules in taken:
        held = leases.claim(leases.begin(held, modules, now_seconds=0.0), modules)
    chance.shuffle(taken)  # type: ignore[attr-defined]  # hypothesis types its randoms as object.
    for modules in taken:
        held = leases.release(leases.end(held, modules), modules)

    assert ({}, {}) == (held.held, held.claims)


@settings(deadline=None, max_examples=60)
@given(st.lists(MODULE_SETS, max_size=12), MODULE_SETS)
def test_grantable_requests_are_those_that_are_ready_and_no_others(
    wanted: list[frozenset[ModuleName]], ready: frozenset[ModuleName]
) -> None:
    """Every request that can be served is, in order; none is served in part."""
    queued = _queue(*(Request(ticket=ticket, modules=modules, holds=True) for ticket, modules in enumerate(wanted)))
    served = tuple(request.ticket for request in leases.grantable(queued, ready))

    assert tuple(ticket for ticket, modules in enumerate(wanted) if modules <= ready) == served


def test_leases_show_their_counts() -> None:
    """The representation says what is held, claimed and waited for."""
    held = leases.claim(leases.begin(_queue(_request(1, A)), ALL, now_seconds=0.0), frozenset({A}))

    assert "<Leases 3 held | 1 claims | 1 wait>" == repr(held)
