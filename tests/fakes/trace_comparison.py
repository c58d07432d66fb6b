"""Every policy on one story, as lines of a table that is reviewed as a diff."""

from collections.abc import Iterable
from dataclasses import replace

from memory_daemon.journal_records import Entry
from memory_daemon.marks import GPU_POLICY, Policy, resolve
from memory_daemon.simulation import simulate
from memory_daemon.simulation_contenders import Governed, rivals
from memory_daemon.simulation_outcome import Outcome
from memory_daemon.simulation_trace import traces_of

SLOW_SECONDS = 60.0
"""How often memory is read in a story of days."""


def policy_for(story: str) -> Policy:
    """Return the policy on trial; days are read more slowly, so that they pass in seconds."""
    slow = {"minimum_period_seconds": SLOW_SECONDS, "maximum_period_seconds": SLOW_SECONDS}
    return replace(GPU_POLICY, **slow) if story == "night_and_day" else GPU_POLICY


def outcomes(story: str, entries: Iterable[Entry]) -> list[Outcome]:
    """Return what comes of every policy on a story."""
    (trace,) = traces_of(entries)
    policy = policy_for(story)
    marks = resolve(policy, trace.total_bytes)
    others = [replace(rival, shortest_seconds=max(1.0, policy.minimum_period_seconds)) for rival in rivals(policy)]
    return [simulate(trace, contender, marks) for contender in (Governed(policy), *others)]


def table(found: Iterable[Outcome]) -> str:
    """Return outcomes as a table."""
    head = (
        f"{'policy':<17}{'critical':>10}{'low':>10}{'denied':>8}{'waits':>7}{'waited':>10}{'moves':>7}{'a minute':>9}"
    )
    return "\n".join([head, *map(_line, found)])


def _line(one: Outcome) -> str:
    return (
        f"{one.name:<17}{one.below_critical_seconds:>8.1f} s{one.below_low_seconds:>8.1f} s{one.denials:>8}"
        f"{one.waits:>7}{one.wait_seconds * 1000:>7.0f} ms{one.moves.total:>7}{one.busiest_minute_moves:>9}"
    )
