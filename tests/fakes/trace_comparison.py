"""Every policy on one story, or on all of them, as lines of a table that is reviewed as a diff."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache

from memory_daemon.journal_records import Entry
from memory_daemon.marks import GPU_POLICY, Policy, resolve
from memory_daemon.simulation import simulate
from memory_daemon.simulation_contenders import Governed, rivals
from memory_daemon.simulation_outcome import Outcome
from memory_daemon.simulation_trace import traces_of
from tests.fakes.trace_stories import STORIES, told

SLOW_SECONDS = 60.0
"""How often memory is read in a story of days."""


def policy_for(story: str) -> Policy:
    """Return the policy on trial; days are read more slowly, so that they pass in seconds."""
    slow = replace(GPU_POLICY, minimum_period_seconds=SLOW_SECONDS, maximum_period_seconds=SLOW_SECONDS)
    return slow if story == "night_and_day" else GPU_POLICY


def outcomes(story: str, entries: Iterable[Entry]) -> list[Outcome]:
    """Return what comes of every policy on a story."""
    (trace,) = traces_of(entries)
    policy = policy_for(story)
    marks = resolve(policy, trace.total_bytes)
    others = [replace(rival, shortest_seconds=max(1.0, policy.minimum_period_seconds)) for rival in rivals(policy)]
    return [simulate(trace, contender, marks) for contender in (Governed(policy), *others)]


@cache
def compared(story: str) -> tuple[Outcome, ...]:
    """Return what comes of every policy on a story as it is told; worked out once."""
    return tuple(outcomes(story, told(story)))


def all_compared() -> dict[str, tuple[Outcome, ...]]:
    """Return what comes of every policy on every story."""
    return {story: compared(story) for story in STORIES}


COLUMNS: tuple[tuple[str, Callable[[Outcome], float], str], ...] = (
    ("seconds below critical", lambda one: one.below_critical_seconds, ".1f"),
    ("seconds below low", lambda one: one.below_low_seconds, ".1f"),
    ("seconds in which others lacked memory", lambda one: one.denied_seconds, ".1f"),
    ("requests that waited for a restore", lambda one: one.waits, ".0f"),
    ("seconds that requests waited", lambda one: one.wait_seconds, ".3f"),
    ("longest wait, seconds", lambda one: one.longest_wait_seconds, ".3f"),
    ("requests that found no memory", lambda one: one.refused_requests, ".0f"),
    ("moves", lambda one: one.moves.total, ".0f"),
    ("moves in the busiest minute", lambda one: one.busiest_minute_moves, ".0f"),
    ("modules brought home before anybody asked", lambda one: one.predictions, ".0f"),
    ("of those, used in time", lambda one: one.prediction_hits, ".0f"),
)
"""What policies are compared by: a title, the number, and how it is written."""
PEAKS = {"longest wait, seconds", "moves in the busiest minute"}
"""Numbers of which the largest counts, not the sum."""


def whole_table(found: Mapping[str, tuple[Outcome, ...]]) -> str:
    """Return a block of lines for each number: a story a line, a policy a column, and all stories together."""
    return "\n\n".join(_block(found, *column) for column in COLUMNS) + "\n"


def _block(found: Mapping[str, tuple[Outcome, ...]], title: str, number: Callable[[Outcome], float], form: str) -> str:
    names = [one.name for one in next(iter(found.values()))]
    rows = {story: [number(one) for one in ones] for story, ones in found.items()}
    together = max if title in PEAKS else sum
    rows["all"] = [float(together(column)) for column in zip(*rows.values(), strict=True)]
    head = f"{title:<42}" + "".join(f"{name:>17}" for name in names)
    return "\n".join(
        [head, *(f"  {story:<40}" + "".join(f"{one:>17{form}}" for one in row) for story, row in rows.items())]
    )


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
