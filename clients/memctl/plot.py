"""A service's memory over time as a picture: the process, its modules, and what it was doing. No screen is needed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from memctl.format import short_bytes
from memctl.types import MemoryReport, MemorySample, Phase

WIDTH_INCHES, HEIGHT_INCHES = 10.0, 5.6
DOTS_PER_INCH = 120
SHORTEST_SECONDS = 1.0
"""What the time axis spans at least, so that a single sample has one too."""
PROCESS_COLOUR, MODULES_COLOUR = "#1f3b57", "#c8501e"
TITLE_COLOUR, QUIET_COLOUR = "#111827", "#6b7280"
PHASE_COLOURS: dict[Phase, str] = {
    Phase.STARTING: "#e5e7eb",
    Phase.IDLE: "#f8fafc",
    Phase.SPEAKING: "#dcefe0",
    Phase.MOVING: "#fde8c8",
    Phase.UNKNOWN: "#f3e8ff",
}


def draw(report: MemoryReport, service: str, path: Path) -> None:
    """Write the picture; ValueError for a kind of file that is not known, OSError where it cannot be written."""
    figure = picture(report, service)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def picture(report: MemoryReport, service: str) -> Figure:
    """Return the picture as a figure."""
    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    _write_above(axes, f"Memory of service {service}", 48, size=14, color=TITLE_COLOUR, weight="bold")
    _write_above(axes, _subtitle(report), 32, size=9.5, color=QUIET_COLOUR)
    if report.samples:
        _shade(axes, report.samples)
        _lines(axes, report)
        _frame(axes, report)
    else:
        axes.text(0.5, 0.5, "No samples yet", ha="center", va="center", transform=axes.transAxes, color=QUIET_COLOUR)
        axes.set_axis_off()
    return figure


def spans(samples: Sequence[MemorySample]) -> list[tuple[float, float, Phase]]:
    """Return from when to when each phase lasted: from its first sample to the first of the next."""
    found: list[tuple[float, float, Phase]] = []
    for one, following in zip(samples, [*samples[1:], samples[-1]], strict=True):
        if found and found[-1][2] is one.phase:
            found[-1] = (found[-1][0], following.unix_seconds, one.phase)
        else:
            found.append((one.unix_seconds, following.unix_seconds, one.phase))
    return found


def unit_of(highest_bytes: int) -> tuple[str, int]:
    """Return the unit that the axis counts in, so that its ticks are round."""
    return ("GiB", 2**30) if highest_bytes >= 2 * 2**30 else ("MiB", 2**20)


def _write_above(axes: Axes, words: str, points: float, **style: Any) -> None:
    axes.annotate(words, (0, 1), xycoords="axes fraction", xytext=(0, points), textcoords="offset points", **style)


def _subtitle(report: MemoryReport) -> str:
    return (
        f"modules: {short_bytes(report.average_home_bytes)} at home on average of "
        f"{short_bytes(report.all_home_bytes)} in all, efficiency {report.efficiency:.0%}   |   "
        f"left {report.evictions} times, came home {report.restores} times, "
        f"{short_bytes(report.released_bytes)} given back"
    )


def _shade(axes: Axes, samples: Sequence[MemorySample]) -> None:
    for start, end, phase in spans(samples):
        axes.axvspan(_day(start), _day(end), color=PHASE_COLOURS[phase], linewidth=0, zorder=0)


def _lines(axes: Axes, report: MemoryReport) -> None:
    times = [_day(one.unix_seconds) for one in report.samples]
    _, unit_bytes = unit_of(_highest(report))
    home = [one.home_bytes / unit_bytes for one in report.samples]
    process = [one.process_bytes / unit_bytes for one in report.samples]
    everything = report.all_home_bytes / unit_bytes
    axes.fill_between(times, home, step="post", color=MODULES_COLOUR, alpha=0.18, linewidth=0, zorder=1)
    axes.plot(times, process, color=PROCESS_COLOUR, linewidth=1.8, label="process", zorder=3)
    axes.step(times, home, where="post", color=MODULES_COLOUR, linewidth=1.8, label="modules at home", zorder=3)
    axes.axhline(everything, color=MODULES_COLOUR, linewidth=1, linestyle=(0, (4, 3)), zorder=2)
    axes.annotate(
        f"all modules {short_bytes(report.all_home_bytes)}",
        (1, everything),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8.5,
        color=MODULES_COLOUR,
    )
    _mark_peak(axes, times, process, unit_bytes)


def _mark_peak(axes: Axes, times: Sequence[float], process: Sequence[float], unit_bytes: int) -> None:
    at = max(range(len(process)), key=process.__getitem__)
    axes.plot(times[at], process[at], "o", color=PROCESS_COLOUR, markersize=4.5, zorder=4)
    axes.annotate(
        f"peak {short_bytes(round(process[at] * unit_bytes))}",
        (times[at], process[at]),
        xytext=(0, 7),
        textcoords="offset points",
        ha="left" if at < len(process) / 2 else "right",
        fontsize=8.5,
        color=PROCESS_COLOUR,
    )


def _frame(axes: Axes, report: MemoryReport) -> None:
    unit, unit_bytes = unit_of(_highest(report))
    axes.set_ylim(0, _highest(report) / unit_bytes * 1.12 or 1)
    first, last = report.samples[0].unix_seconds, report.samples[-1].unix_seconds
    axes.set_xlim(_day(first), _day(max(last, first + SHORTEST_SECONDS)))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:g} {unit}"))
    locator = AutoDateLocator(minticks=4, maxticks=14)  # type: ignore[no-untyped-call]  # Typed only in part.
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # As above.
    axes.grid(axis="y", color="#d1d5db", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, colors="#374151", labelsize=9)
    _legend(axes, report.samples)


def _highest(report: MemoryReport) -> int:
    return max(report.all_home_bytes, *(max(one.process_bytes, one.home_bytes) for one in report.samples))


def _legend(axes: Axes, samples: Sequence[MemorySample]) -> None:
    lines, names = axes.get_legend_handles_labels()
    seen = [phase for phase in PHASE_COLOURS if any(one.phase is phase for one in samples)]
    patches = [Patch(facecolor=PHASE_COLOURS[phase], edgecolor="#9ca3af", linewidth=0.5) for phase in seen]
    axes.legend(
        [*lines, *patches],
        [*names, *map(str, seen)],
        loc="lower left",
        bbox_to_anchor=(-0.005, 1.0),
        ncols=len(lines) + len(patches),
        frameon=False,
        fontsize=9,
        handlelength=1.4,
        columnspacing=1.4,
    )


def _day(unix_seconds: float) -> float:
    """Return a moment as matplotlib counts them, in the machine's own zone."""
    local = datetime.fromtimestamp(unix_seconds, UTC).astimezone().replace(tzinfo=None)
    return float(date2num(local))  # type: ignore[no-untyped-call]  # As above.
