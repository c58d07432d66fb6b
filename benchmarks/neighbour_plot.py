"""Free memory of a device while a neighbour takes it in steps, with the marks, the steps and the daemon's orders."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from benchmarks.neighbour_rounds import Plan, Rounds

mpl.use("Agg")
import matplotlib.pyplot as plt

MB = 10**6
SHOWN_HIGHS = 3.0
"""What is free beyond so many times `high` is all the same."""
LETTER = 0.006
"""Of an order's text, in parts of the plot's width."""


def draw(
    path: Path,
    plan: Plan,
    readings: Sequence[tuple[float, int]],
    rounds: Rounds,
    orders: Sequence[tuple[float, str]],
) -> None:
    """Draw it; times count from the first reading."""
    figure, axes = plt.subplots(figsize=(14, 5), layout="constrained")
    began = readings[0][0]
    most = SHOWN_HIGHS * plan.high_bytes / MB
    axes.plot([at - began for at, _ in readings], [free / MB for _, free in readings], linewidth=1, label="free")
    marks = {"critical": plan.critical_bytes, "low": plan.low_bytes, "high": plan.high_bytes}
    for name, color in (("critical", "tab:red"), ("low", "tab:orange"), ("high", "tab:green")):
        axes.axhline(marks[name] / MB, color=color, linewidth=0.8, label=name)
    steps = [each for each in rounds.steps if each.part != "fill"]
    for failed, color, label in ((False, "black", "step"), (True, "red", "step that failed")):
        chosen = [each for each in steps if (each.status != 0) is failed]
        heights = [min(most, each.free_bytes / MB) for each in chosen]
        axes.scatter([each.unix_seconds - began for each in chosen], heights, s=14, color=color, label=label, zorder=3)
    last = float("-inf")
    for at, modules in orders:
        axes.axvline(at - began, color="0.8", linewidth=0.8, zorder=0)
        # What follows at once stands beside it, not on it.
        last = max(at - began, last + (readings[-1][0] - began) * LETTER)
        axes.text(last, most, modules, fontsize=5, rotation=90, va="top", ha="right")
    axes.set(title="a neighbour takes a GPU's memory in steps", xlabel="seconds", ylabel="MB free", ylim=(0, most))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right", fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)
