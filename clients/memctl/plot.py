"""A service's memory over time as a picture: the process, its modules, and what it was doing. No screen is needed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from memctl.format import short_bytes
from memctl.report_types import MemoryReport, MemorySample, Phase

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
    """Return the picture as a figure: the process above, its modules below, because one is much more than the other."""
    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained", facecolor="white")
    if not report.samples:
        axes = figure.add_subplot()
        axes.text(0.5, 0.5, "No samples yet", ha="center", va="center", color=QUIET_COLOUR)
        axes.set_axis_off()
        return figure
    process, modules = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    for axes in (process, modules):
        _shade(axes, report.samples)
    _process_line(process, report.samples)
    _modules_line(modules, report)
    _time_axis(modules, report.samples)
    _write_above(process, f"Memory of service {service}", 48, size=14, color=TITLE_COLOUR, weight="bold")
    _write_above(process, _subtitle(report), 32, size=9.5, color=QUIET_COLOUR)
    _legend(process, report.samples)
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


def _process_line(axes: Axes, samples: Sequence[MemorySample]) -> None:
    """Draw the process with its peak; its axis need not begin at zero, for most of it never moves."""
    unit, unit_bytes = unit_of(max(one.process_bytes for one in samples))
    times = [_day(one.unix_seconds) for one in samples]
    sizes = [one.process_bytes / unit_bytes for one in samples]
    axes.plot(times, sizes, color=PROCESS_COLOUR, linewidth=1.8, label="process", zorder=3)
    at = max(range(len(sizes)), key=sizes.__getitem__)
    axes.plot(times[at], sizes[at], "o", color=PROCESS_COLOUR, markersize=4.5, zorder=4)
    side = "left" if at < len(sizes) / 2 else "right"
    peak = f"peak {short_bytes(samples[at].process_bytes)}"
    _write_at(axes, peak, (times[at], sizes[at]), (0, 7), ha=side, color=PROCESS_COLOUR)
    axes.margins(y=0.18)
    _size_axis(axes, unit)


def _modules_line(axes: Axes, report: MemoryReport) -> None:
    """Draw what modules hold at home beside what all of them would, from zero."""
    highest_bytes = max(report.all_home_bytes, *(one.home_bytes for one in report.samples))
    unit, unit_bytes = unit_of(highest_bytes)
    times = [_day(one.unix_seconds) for one in report.samples]
    sizes = [one.home_bytes / unit_bytes for one in report.samples]
    everything = report.all_home_bytes / unit_bytes
    axes.fill_between(times, sizes, step="post", color=MODULES_COLOUR, alpha=0.18, linewidth=0, zorder=1)
    axes.step(times, sizes, where="post", color=MODULES_COLOUR, linewidth=1.8, label="modules at home", zorder=3)
    axes.axhline(everything, color=MODULES_COLOUR, linewidth=1, linestyle=(0, (4, 3)), zorder=2)
    words = f"all modules {short_bytes(report.all_home_bytes)}"
    _write_at(axes, words, (_day(report.samples[0].unix_seconds), everything), (4, 4), ha="left", color=MODULES_COLOUR)
    axes.set_ylim(0, highest_bytes / unit_bytes * 1.25 or 1)
    _size_axis(axes, unit)


def _write_at(
    axes: Axes, words: str, place: tuple[float, float], offset_points: tuple[float, float], **style: Any
) -> None:
    axes.annotate(words, place, xytext=offset_points, textcoords="offset points", fontsize=8.5, **style)


def _size_axis(axes: Axes, unit: str) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:g} {unit}"))
    axes.grid(axis="y", color="#d1d5db", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, colors="#374151", labelsize=9)


def _time_axis(axes: Axes, samples: Sequence[MemorySample]) -> None:
    first, last = samples[0].unix_seconds, samples[-1].unix_seconds
    axes.set_xlim(_day(first), _day(max(last, first + SHORTEST_SECONDS)))
    axes.tick_params(axis="x", pad=6)
    locator = AutoDateLocator(minticks=4, maxticks=14)  # type: ignore[no-untyped-call]  # Typed only in part.
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # As above.


def _legend(axes: Axes, samples: Sequence[MemorySample]) -> None:
    """Name both lines, and the phases that were."""
    lines = [Line2D([], [], color=colour, linewidth=1.8) for colour in (PROCESS_COLOUR, MODULES_COLOUR)]
    seen = [phase for phase in PHASE_COLOURS if any(one.phase is phase for one in samples)]
    patches = [Patch(facecolor=PHASE_COLOURS[phase], edgecolor="#9ca3af", linewidth=0.5) for phase in seen]
    axes.legend(
        [*lines, *patches],
        ["process", "modules at home", *map(str, seen)],
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
