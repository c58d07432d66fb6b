"""The scheduler beside others on a simulated H100: gaps, first audio, fairness, and what happens when it is too much.

It is a simulation over measured figures, so it gives the same numbers on every machine, within half a minute. What the
figures leave out is said in `scheduling_truth`. Rivals: first come, first served, one at a time (as without batching)
and in batches; and the shipped order without admission.

    python -m benchmarks.scheduling              # print the table
    python -m benchmarks.scheduling --capacity   # and search how many sessions hear no gap (minutes)
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.scheduling_contenders import ByDeadline, Contender, FirstCome
from benchmarks.scheduling_outcome import Outcome, mean, quantile
from benchmarks.scheduling_sessions import Arrival, Manner
from benchmarks.scheduling_stories import beside, files, spread, steady
from benchmarks.scheduling_world import World
from tts_service.scheduling.costs import Figures
from tts_service.scheduling.figures import H100_ENGLISH, H100_TURBO

SECONDS = 25.0
Make = Callable[[], Contender]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run to be made."""

    story: str
    figures: Figures
    make: Make
    arrivals: Sequence[Arrival]
    seconds: float = SECONDS


def shipped() -> Contender:
    """Return the scheduler with its defaults."""
    return ByDeadline()


def unguarded() -> Contender:
    """Return it without admission."""
    return ByDeadline(admits=False, name="by deadline, all let in")


def one_by_one() -> Contender:
    """Return what there is without batches."""
    return FirstCome(at_once=1, name="first come, one by one")


def in_batches() -> Contender:
    """Return plain batches."""
    return FirstCome(at_once=8, name="first come, batches of 8")


def rows() -> list[Row]:
    """Return all runs of the table."""
    found = [
        Row(story=f"English, {count} talk", figures=H100_ENGLISH, make=make, arrivals=spread(count))
        for count in (1, 32, 64)
        for make in (one_by_one, in_batches, unguarded)
    ]
    turns = spread(32, manner=Manner.TURNS)
    found += [
        Row(story="English, 32 converse", figures=H100_ENGLISH, make=m, arrivals=turns) for m in (in_batches, shipped)
    ]
    found += [
        Row(
            story="English, twice too many",
            figures=H100_ENGLISH,
            make=make,
            arrivals=steady(4.0, stay_seconds=30.0, until=60.0),
            seconds=60.0,
        )
        for make in (in_batches, unguarded, shipped)
    ]
    found += [
        Row(story=f"English, {count} read sentences", figures=H100_ENGLISH, make=unguarded, arrivals=arrivals)
        for count in (32, 64)
        for arrivals in [spread(count, manner=Manner.SENTENCES)]
    ]
    found += [
        Row(story="English, 16 files", figures=H100_ENGLISH, make=unguarded, arrivals=files(16)),
        Row(
            story="English, 32 talk, 8 files",
            figures=H100_ENGLISH,
            make=unguarded,
            arrivals=beside(spread(32), files(8)),
        ),
    ]
    found += [
        Row(story="Turbo, 140 talk", figures=H100_TURBO, make=make, arrivals=spread(140))
        for make in (in_batches, unguarded)
    ]
    many = spread(200, manner=Manner.SENTENCES, over_seconds=20.0)
    found += [Row(story="Turbo, 200 read sentences", figures=H100_TURBO, make=unguarded, arrivals=many, seconds=35.0)]
    return found


def cells(story: str, outcome: Outcome) -> tuple[str, ...]:
    """Return a row's text."""
    first = [1_000 * seconds for seconds in outcome.first_audio_seconds]
    tokens, sound = outcome.utilisation
    return (
        story,
        outcome.name,
        f"{outcome.most_sessions}",
        f"{outcome.refused}",
        f"{outcome.underruns} in {outcome.sessions_with_gaps}",
        f"{100 * outcome.stalled_share:.1f} %",
        f"{quantile(first, 0.5):.0f}" if first else "-",
        f"{quantile(first, 0.95):.0f}" if first else "-",
        f"{outcome.fairness:.2f}",
        f"{tokens:.2f} {sound:.2f}",
        f"{mean(outcome.bursts):.1f} {mean(outcome.steps):.1f}",
        f"{outcome.bulk_times:.0f} x" if outcome.files else "-",
    )


TITLES = (
    "story",
    "order",
    "most in",
    "refusals",
    "gaps",
    "stalled",
    "first p50",
    "p95 ms",
    "fair",
    "lanes busy",
    "together",
    "bulk",
)


def capacity(figures: Figures, make: Make, low: int, high: int, step: int) -> int:
    """Return the most sessions that talk at once of whom, once all have begun, at most one in a hundred heard a gap."""
    while high - low > step:
        middle = (low + high) // 2
        outcome = World(figures, make(), spread(middle, over_seconds=15.0)).run(45.0)
        holds = outcome.sessions_with_gaps <= middle / 100
        low, high = (middle, high) if holds else (low, middle)
    return low


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--capacity", action="store_true", help="search how many sessions hear no gap")
    asked_for = parser.parse_args()
    table: list[tuple[str, ...]] = [TITLES]
    for row in rows():
        outcome = World(row.figures, row.make(), row.arrivals).run(row.seconds)
        table.append(cells(row.story, outcome))
    widths = [max(len(line[place]) for line in table) for place in range(len(TITLES))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if asked_for.capacity:
        _print_capacities()


def _print_capacities() -> None:
    print("\nsessions that talk at once without a gap")
    for name, figures, high in (("English", H100_ENGLISH, 112), ("Turbo", H100_TURBO, 320)):
        for make in (one_by_one, in_batches, unguarded):
            print(f"  {name}, {make().name}: {capacity(figures, make, 1, high, 2)}")


if __name__ == "__main__":
    main()
