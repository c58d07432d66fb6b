"""What a service's trace says of a stretch of time: who worked, moved and waited from a text to its first audio."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """A span, or a moment of 0 ms; `begin_ms` counts from the stretch's begin."""

    on: str
    name: str
    begin_ms: float
    ms: float


def trace_window(path: Path, begin_seconds: float, end_seconds: float) -> list[Worked]:
    """Return what a trace file has in a stretch of the machine's monotonic clock, by begin; leases stay out."""
    events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    rows = {_row(each): each["args"]["name"] for each in events if each["name"] == "thread_name"}
    found = [
        Worked(
            on=rows[_row(each)],
            name=each["name"],
            begin_ms=each["ts"] / 1e3 - 1e3 * begin_seconds,
            ms=each.get("dur", 0.0) / 1e3,
        )
        for each in events
        if each["ph"] != "M" and not each["name"].startswith("lease")
    ]
    most_ms = 1e3 * (end_seconds - begin_seconds)
    return sorted(
        (each for each in found if -each.ms <= each.begin_ms <= most_ms and each.begin_ms + each.ms >= 0),
        key=lambda each: each.begin_ms,
    )


def _row(event: dict[str, Any]) -> tuple[int, int]:
    """Return an event's row: the front end and its engine each number their own."""
    return event["pid"], event["tid"]


def print_window(title: str, worked: Sequence[Worked]) -> None:
    """Print a stretch, a line for each span."""
    print(f"\n{title}\n{'begin ms':>9} {'took ms':>8}  on")
    for each in worked:
        print(f"{each.begin_ms:9.2f} {each.ms:8.2f}  {each.on:8} {each.name}")
