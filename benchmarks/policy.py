"""The daemon's policy beside what others do, on the eight stories: a table, its numbers as JSON, and a plot.

It is a simulation, so it gives the same numbers on every machine; `tests/memory_daemon/traces` are its traces. Rivals:
no policy at all, one threshold with the longest unused first, an idle timeout, and everything or nothing.

    python -m benchmarks.policy            # print the table
    python -m benchmarks.policy --write    # and write benchmarks/results/policy.{txt,json,png}
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memory_daemon.simulation_outcome import Outcome
from tests.fakes.trace_comparison import COLUMNS, all_compared, whole_table

RESULTS = Path(__file__).parent / "results"
PANELS = ("seconds below critical", "seconds that requests waited", "moves")
COLOURS = ("tab:green", "tab:gray", "tab:blue", "tab:orange", "tab:red")


def document(found: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    """Return all numbers, by story and policy, rounded to milliseconds."""
    return {
        story: {one.name: {title: round(float(number(one)), 3) for title, number, _ in COLUMNS} for one in ones}
        for story, ones in found.items()
    }


def draw(found: Mapping[str, Sequence[Outcome]], path: Path) -> None:
    """Draw what matters most, a panel each: stories on one axis, a bar for each policy, shorter is better."""
    import matplotlib as mpl  # noqa: PLC0415 - Printing the table needs no plot.

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415 - After the backend is chosen.

    numbers = {title: number for title, number, _ in COLUMNS}
    figure, panels = plt.subplots(1, len(PANELS), figsize=(14, 6), sharey=True, layout="constrained")
    stories, names = list(found), [one.name for one in next(iter(found.values()))]
    height = 0.8 / len(names)
    for axes, title in zip(panels, PANELS, strict=True):
        for place, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
            widths = [float(numbers[title](found[story][place])) for story in stories]
            positions = [row + (place - (len(names) - 1) / 2) * height for row in range(len(stories))]
            axes.barh(positions, widths, height=height, label=name, color=colour)
        axes.set(title=title, xscale="symlog")
        axes.set_xlim(left=0)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(stories)), [story.replace("_", " ") for story in stories])
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names))
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)


def write(found: Mapping[str, Sequence[Outcome]], folder: Path) -> None:
    """Write table and numbers into a folder."""
    (folder / "policy.txt").write_text(whole_table({story: tuple(ones) for story, ones in found.items()}))
    (folder / "policy.json").write_text(json.dumps(document(found), indent=1) + "\n")


def main(arguments: Sequence[str]) -> None:
    """Print the table, and write everything if that is asked for."""
    parser = argparse.ArgumentParser(description="Compare the daemon's policy with what others do.")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/policy.{txt,json,png}")
    wants = parser.parse_args(arguments)
    found = all_compared()
    sys.stdout.write(whole_table(found))
    if wants.write:
        write(found, RESULTS)
        draw(found, RESULTS / "policy.png")


if __name__ == "__main__":
    main(sys.argv[1:])
