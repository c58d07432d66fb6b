"""Rows of figures about moves: what each is, beside what it is to be compared with."""

from collections.abc import Mapping
from typing import Any, Final

Found = Mapping[str, tuple[float, str, float | None]]
"""By name: a value, its unit, and the same of a peer, or without what is looked at."""

TARGETS: Final = {
    "evict_ms_per_gib": "<= 1.5",
    "restore_fraction_of_copy": ">= 0.85",
    "evict_p99_to_p50": "<= 2",
    "graph_cycles_different": "0",
}


def told(found: Found) -> dict[str, dict[str, Any]]:
    """Return rows as they are kept."""
    return {
        name: {"value": value, "unit": unit, "peer": peer, "target": TARGETS.get(name, "-")}
        for name, (value, unit, peer) in found.items()
    }


def print_rows(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Print rows, one a line."""
    for name, row in rows.items():
        peer = "-" if row["peer"] is None else f"{row['peer']:.3f}"
        print(f"{name:34} {row['value']:10.3f} {row['unit']:3} target {row['target']:8} peer {peer}")
