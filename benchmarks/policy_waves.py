"""How much the daemon's policy moves for neighbours who take and give back, from 50 ms to a minute: one table.

    python -m benchmarks.policy_waves [--out benchmarks/results/policy_waves.json]

Simulated time: it takes a minute on one core, and the numbers are the same everywhere. The table is printed and written
beside the JSON.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from memory_daemon.journal_records import Entry
from tests.fakes.policy_waves import (
    HIGH_GIGABYTES,
    LASTS_SECONDS,
    NOISE_MOVES_A_MINUTE,
    PERIODS_SECONDS,
    moves_maximum,
    noise,
    outcome,
    square,
)

RESULTS = Path(__file__).parent / "results" / "policy_waves.json"
NOISE_SEEDS = (7, 8)
HEAD = ("kind", "GB", "period", "away", "home", "busiest minute", "bound", "below critical", "denied")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One wave; `bound` is on all moves of a square wave, and on those of the busiest minute of noise."""

    kind: str
    high_gigabytes: float
    period_seconds: float
    sent_away: int
    called_home: int
    busiest_minute_moves: int
    bound: int
    below_critical_seconds: float
    denials: int


def rows() -> Iterator[Row]:
    """Yield every wave of the table."""
    for high_gigabytes in HIGH_GIGABYTES:
        for period in PERIODS_SECONDS:
            yield _row("square", high_gigabytes, period, square(period, high_gigabytes), moves_maximum(period))
    for seed in NOISE_SEEDS:
        for high_gigabytes in HIGH_GIGABYTES:
            for period in PERIODS_SECONDS:
                entries = noise(period, high_gigabytes, seed)
                yield _row(f"noise {seed}", high_gigabytes, period, entries, NOISE_MOVES_A_MINUTE)


def table(found: list[Row]) -> str:
    """Return the rows as text."""
    title = f"Moves for a neighbour alone, in {LASTS_SECONDS:g} s; all eight modules were used just before."
    cells = [HEAD, *(_cells(row) for row in found)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(HEAD))]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
    return "\n".join([title, *lines]) + "\n"


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes; the table goes beside it")
    out: Path = parser.parse_args().out
    found = list(rows())
    text = table(found)
    print(text, end="")
    out.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n")
    out.with_suffix(".txt").write_text(text)


def _row(kind: str, high_gigabytes: float, period_seconds: float, entries: list[Entry], bound: int) -> Row:
    found = outcome(entries)
    return Row(
        kind=kind,
        high_gigabytes=high_gigabytes,
        period_seconds=period_seconds,
        sent_away=found.moves.sent_away,
        called_home=found.moves.called_home,
        busiest_minute_moves=found.busiest_minute_moves,
        bound=bound,
        below_critical_seconds=round(found.below_critical_seconds, 3),
        denials=found.denials,
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.kind,
        f"{row.high_gigabytes:.1f}",
        f"{row.period_seconds:g} s",
        str(row.sent_away),
        str(row.called_home),
        str(row.busiest_minute_moves),
        str(row.bound),
        f"{row.below_critical_seconds:.2f} s",
        str(row.denials),
    )


if __name__ == "__main__":
    main()
