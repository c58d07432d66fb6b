"""This policy against none, one threshold, an idle timeout and all or nothing, on all eight stories together.

`REWRITE_SCENARIOS=1` writes benchmarks/results/policy.{txt,json} anew; review the difference.
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from benchmarks.policy import RESULTS, document, write
from memory_daemon.marks import resolve
from memory_daemon.simulation import simulate
from memory_daemon.simulation_contenders import Governed
from memory_daemon.simulation_outcome import Outcome
from memory_daemon.simulation_trace import traces_of
from tests.fakes.trace_comparison import all_compared, compared, policy_for, whole_table
from tests.fakes.trace_stories import told

OURS = "greenroom"


def totals(number: Callable[[Outcome], float]) -> dict[str, float]:
    """Return the sum of a number over all stories, by policy."""
    found: dict[str, float] = {}
    for ones in all_compared().values():
        for one in ones:
            found[one.name] = found.get(one.name, 0.0) + number(one)
    return found


def _moved(one: Outcome) -> float:
    return one.moves.total


def test_comparison_on_all_scenarios_is_what_is_published() -> None:
    """The table and the numbers beside the benchmarks are those that the code comes to today."""
    if os.environ.get("REWRITE_SCENARIOS"):
        write(all_compared(), RESULTS)
    published = (RESULTS / "policy.txt").read_text()
    numbers = json.loads((RESULTS / "policy.json").read_text())

    assert published == whole_table(all_compared())
    assert numbers == document(all_compared())


@pytest.mark.parametrize("rival", ["none", "threshold", "idle timeout", "evict everything"])
def test_policy_on_all_scenarios_beats_a_rival(rival: str) -> None:
    """Over all stories memory is below critical for less time, and no request is refused that the rival would serve."""
    below = totals(lambda one: one.below_critical_seconds)
    refused = totals(lambda one: one.refused_requests)

    assert below[OURS] < below[rival]
    assert refused[OURS] <= refused[rival]


@pytest.mark.parametrize("rival", ["threshold", "idle timeout", "evict everything"])
def test_policy_on_all_scenarios_waits_and_moves_less_than_whoever_gives_memory_back(rival: str) -> None:
    """Over all stories fewer requests wait, and for less time, and fewer modules move."""
    numbers = [totals(number) for number in (lambda one: one.waits, lambda one: one.wait_seconds, _moved)]

    assert all(found[OURS] < found[rival] for found in numbers)


def test_foresight_on_the_scenario_of_days_spares_requests_their_wait() -> None:
    """With the time of day every morning's first request finds its modules home; without it some wait for them."""
    (trace,) = traces_of(told("night_and_day"))
    policy = policy_for("night_and_day")
    marks = resolve(policy, trace.total_bytes)
    without = simulate(trace, Governed(replace(policy, foresight=False)), marks)
    found = compared("night_and_day")[0]

    assert (0, found.predictions) == (found.waits, found.prediction_hits)
    assert without.waits > 0
    assert without.moves.total > found.moves.total
