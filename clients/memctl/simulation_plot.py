"""A simulation as a picture: for each policy, what was free over time, with the marks, and what modules held."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from memctl.simulation_types import Outcome, Trial

WIDTH_INCHES, ROW_INCHES = 10.0, 1.7
DOTS_PER_INCH = 120
GIGABYTE = 1e9
FREE_COLOUR, HELD_COLOUR = "#1f3b57", "#c8501e"
MARK_COLOURS = {"critical": "#b91c1c", "low": "#d97706", "high": "#15803d"}


def draw(trials: tuple[Trial, ...], path: Path) -> None:
    """Write the picture; ValueError for a kind of file that is not known, OSError where it cannot be written."""
    figure = picture(trials)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def picture(trials: tuple[Trial, ...]) -> Figure:
    """Return the picture as a figure: a row for each policy of each device, all over the same time."""
    rows = [(trial, one) for trial in trials for one in trial.outcomes if one.points]
    figure = Figure(figsize=(WIDTH_INCHES, ROW_INCHES * max(1, len(rows)) + 0.6), layout="constrained")
    if not rows:
        figure.text(0.5, 0.5, "Nothing to draw", ha="center", va="center")
        return figure
    panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (trial, outcome) in zip(panels, rows, strict=True):
        _row(axes, trial, outcome)
    panels[-1].set_xlabel("seconds")
    panels[0].legend(loc="lower left", bbox_to_anchor=(0, 1.12), ncols=5, frameon=False, fontsize=8)
    return figure


def _row(axes: Axes, trial: Trial, outcome: Outcome) -> None:
    times = [point.seconds for point in outcome.points] + [outcome.seconds]
    free = [point.free_bytes / GIGABYTE for point in outcome.points]
    held = [point.held_bytes / GIGABYTE for point in outcome.points]
    axes.step(times, [*free, free[-1]], where="post", color=FREE_COLOUR, linewidth=1.4, label="free")
    axes.step(times, [*held, held[-1]], where="post", color=HELD_COLOUR, linewidth=1.0, label="modules")
    for name, colour in MARK_COLOURS.items():
        level = getattr(trial.marks, f"{name}_bytes") / GIGABYTE
        axes.axhline(level, color=colour, linewidth=0.8, linestyle=(0, (4, 3)), label=name)
    words = (
        f"{outcome.name}: {outcome.below_critical_seconds:.1f} s below critical, {outcome.waits} waits, "
        f"{outcome.moves} moves"
    )
    axes.set_title(words, loc="left", fontsize=9)
    axes.set_ylabel("GB", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
