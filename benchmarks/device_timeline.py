"""How much of a GPU is in use over time, read by NVML in a thread, with names for what went on."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

MIB = 1 << 20
PERIOD_SECONDS = 0.005
NAME_ROWS = 4
NAME_WIDTH = 0.009
"""Of a letter, in parts of the plot's."""
BEFORE_SECONDS = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What went on from a moment on."""

    name: str
    begin_seconds: float


@dataclass(slots=True)
class Timeline:
    """Readings (seconds, MiB beyond what was in use at the start) and phases, both in order."""

    readings: list[tuple[float, float]] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)

    def peak_mib(self, phase: str) -> float:
        """Return the most that was in use in a phase."""
        return max(mib for _, mib in self.within(phase))

    def last_mib(self, phase: str) -> float:
        """Return what was in use at a phase's end."""
        return self.within(phase)[-1][1]

    def within(self, phase: str) -> list[tuple[float, float]]:
        """Return the readings of the phase's last occurrence."""
        index = max(number for number, each in enumerate(self.phases) if each.name == phase)
        begin = self.phases[index].begin_seconds
        end = self.phases[index + 1].begin_seconds if index + 1 < len(self.phases) else float("inf")
        return [each for each in self.readings if begin <= each[0] < end]


class DeviceTimeline:
    """Reads while it is entered. Made before anything of ours uses the GPU; None of it works without one."""

    def __init__(self) -> None:
        import pynvml  # noqa: PLC0415 - only where there is a GPU.

        pynvml.nvmlInit()
        self.timeline = Timeline()
        self._nvml: Any = pynvml
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        self._start_bytes = self._used_bytes()
        self._began = time.perf_counter()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __repr__(self) -> str:
        return f"<DeviceTimeline {len(self.timeline.readings)} readings>"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ends.set()
        self._thread.join()

    def begin(self, name: str) -> None:
        """Begin a phase."""
        self.timeline.phases.append(Phase(name=name, begin_seconds=time.perf_counter() - self._began))

    def _read(self) -> None:
        while not self._ends.wait(PERIOD_SECONDS):
            mib = (self._used_bytes() - self._start_bytes) / MIB
            self.timeline.readings.append((time.perf_counter() - self._began, mib))

    def _used_bytes(self) -> int:
        return int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used)


def draw_timeline(timeline: Timeline, path: Path, *, title: str, close: str) -> None:
    """Draw memory over time with its phases, and beside it the last turn of a phase that comes again and again."""
    figure, (whole, near) = plt.subplots(1, 2, figsize=(13, 4), sharey=True, layout="constrained", width_ratios=(3, 1))
    seconds, mib = zip(*timeline.readings, strict=True)
    top = max(mib)
    whole.plot(seconds, mib, color="tab:blue", linewidth=1)
    _name_phases(whole, timeline.phases, top=top, width=seconds[-1])
    whole.set(title=title, xlabel="seconds", ylabel="GPU memory of the process, MiB")
    whole.set_ylim(0, top * 1.25)
    _draw_turn(near, timeline, close, top=top)
    for axes in (whole, near):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _name_phases(axes: Any, phases: Sequence[Phase], *, top: float, width: float) -> None:
    """Write each phase's name where it first begins, in rows so that none covers another."""
    ends = [float("-inf")] * NAME_ROWS
    for name in dict.fromkeys(each.name for each in phases):
        begins = [each.begin_seconds for each in phases if each.name == name]
        turns = f" ({len(begins)} times)" if len(begins) > 1 else ""
        row = min(range(NAME_ROWS), key=lambda number: ends[number])
        axes.axvline(begins[0], color="0.7", linewidth=0.8)
        axes.text(begins[0], top * (1.02 + 0.055 * row), f" {name}{turns}", fontsize=7, ha="left")
        ends[row] = begins[0] + width * NAME_WIDTH * len(name + turns)


def _draw_turn(axes: Any, timeline: Timeline, name: str, *, top: float) -> None:
    """Draw from a little before a phase begins for the last time to the end."""
    begins = [each.begin_seconds for each in timeline.phases if each.name == name]
    if not begins:
        axes.set_axis_off()
        return
    begin = begins[-1] - BEFORE_SECONDS
    turn = [(each[0] - begins[-1], each[1]) for each in timeline.readings if each[0] >= begin]
    axes.step(*zip(*turn, strict=True), color="tab:blue", linewidth=1, where="post")
    shown = [each for each in timeline.phases if each.begin_seconds >= begin]
    for number, each in enumerate(shown):
        axes.axvline(each.begin_seconds - begins[-1], color="0.7", linewidth=0.8)
        height = top * (1.02 + 0.055 * (number % NAME_ROWS))
        axes.text(each.begin_seconds - begins[-1], height, f" {each.name}", fontsize=7, ha="left")
    axes.set(title="the last turn", xlabel=f"seconds from {name}")
