"""Two services that speak for minutes on a GPU that does not hold what both use: neither starves, nothing thrashes."""

from itertools import pairwise

import pytest

from memory_daemon.ledger import Claim, divided, squeezed_bytes
from memory_daemon.marks import GPU_POLICY, resolve
from memory_daemon.simulation import simulate
from memory_daemon.simulation_contenders import Governed
from memory_daemon.simulation_outcome import Outcome
from memory_daemon.simulation_trace import traces_of
from memory_daemon.types import ServiceName
from tests.fakes.trace_stories import MODULES_MIB, SPOKEN, TOTAL_BYTES, two_overloaded

FIRST, SECOND = ServiceName("first"), ServiceName("second")
USED_BYTES = sum(MODULES_MIB[name] for name in SPOKEN) * 2**20
LONGEST_WAIT_SECONDS = 0.5
"""All that an utterance uses comes home in 0.06 s."""


def outcome(others_gigabytes: float, breath_gigabytes: float) -> Outcome:
    """Return what comes of five minutes."""
    (trace,) = traces_of(two_overloaded(others_gigabytes=others_gigabytes, breath_gigabytes=breath_gigabytes))
    return simulate(trace, Governed(GPU_POLICY), resolve(GPU_POLICY, TOTAL_BYTES))


@pytest.mark.parametrize("breath_gigabytes", [0.0, 0.3])
@pytest.mark.parametrize("others_gigabytes", [18.6, 19.5])
def test_services_that_do_not_fit_take_turns_and_neither_starves(
    others_gigabytes: float, breath_gigabytes: float
) -> None:
    """Every request is served within a moment; it moves what its turns need, and the daemon moves next to nothing."""
    found = outcome(others_gigabytes, breath_gigabytes)

    assert (0, True) == (found.refused_requests, found.longest_wait_seconds < LONGEST_WAIT_SECONDS)
    assert found.moves.total <= 2 * found.requests + 2 * 2 * len(MODULES_MIB)
    assert found.moves.sent_away + found.moves.called_home <= 2 * len(MODULES_MIB)
    assert found.below_critical_seconds < 1.0


def test_services_that_just_fit_move_next_to_nothing_though_others_breathe() -> None:
    """A budget a hair below what speech uses would move T3 with every segment: it is given as soon as it is there."""
    found = outcome(17.8, 0.3)

    assert found.moves.total < found.requests / 4
    assert found.waits < found.requests / 10
    assert 0 == found.refused_requests


def claims(used: int) -> tuple[Claim, ...]:
    """Return claims of two services that use as much each, of which four fifths are the floor."""
    return tuple(
        Claim(service=name, floor_bytes=used * 4 // 5, held_bytes=used, whole_bytes=used, used_bytes=used)
        for name in (FIRST, SECOND)
    )


def test_budget_a_little_below_what_is_used_is_raised_as_soon_as_there_is_room() -> None:
    """For anything else so small a change is noise; here it ends a move with every segment."""
    before = {FIRST: 980, SECOND: 980}
    found = divided(before, claims(1000), 2200)

    assert all(budget >= 1000 for budget in found.budgets.values())
    assert 40 == squeezed_bytes(claims(1000), before)
    assert 0 == squeezed_bytes(claims(1000), found.budgets)


def test_budgets_that_hold_what_is_used_stay_until_the_pool_is_smaller() -> None:
    """They are given with some room to spare and taken late, so that breathing around the border changes nothing."""
    pools = [2200, *range(2190, 2000, -10), *range(2000, 2200, 10)]
    budgets = [{FIRST: 900, SECOND: 900}]
    for pool in pools:
        budgets.append(dict(divided(budgets[-1], claims(1000), pool).budgets))
    changes = sum(earlier != later for earlier, later in pairwise(budgets))

    assert changes <= 3
    assert all(budget >= 1000 for later in budgets[1:] for budget in later.values())
