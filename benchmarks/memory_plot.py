"""The process's memory over utterances and over evict/restore cycles, as a picture."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

MIB = 2**20


def draw(memory: dict[str, Any], path: Path) -> None:
    """Draw both, side by side, on one scale."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    step = memory["utterances_per_size"]
    sizes = memory["utterance_bytes"]
    left.plot([step * (i + 1) for i in range(len(sizes))], [size / MIB for size in sizes], color="tab:blue")
    left.set(title="speaking", xlabel="utterances", ylabel="resident set, MiB")
    cycles = range(1, len(memory["home_bytes"]) + 1)
    right.plot(cycles, [size / MIB for size in memory["home_bytes"]], label="all modules at home", color="tab:blue")
    right.plot(cycles, [size / MIB for size in memory["away_bytes"]], label="all modules on disk", color="tab:green")
    right.set(title="evicting and restoring", xlabel="cycles")
    right.legend(loc="center right")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.set_ylim(bottom=0)
    figure.savefig(path, dpi=110)
    plt.close(figure)
