"""Free memory over time, drawn with characters, the marks across it. Pure.

The scale is logarithmic, from half of `critical` up: what matters is how near memory is to nothing, and on a large
device all marks would lie in one row otherwise. Each column is the least that was free in its time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from memctl.bars import ASCII, PRESSURE_STYLES, Glyphs
from memctl.format import short_bytes
from memctl.types import DeviceMemory, Marks, MemoryPoint, Pressure

AXIS_WIDTH = 10
LEAST_ROWS, MOST_ROWS = 3, 8
SHORTEST_SECONDS, LONGEST_SECONDS = 60.0, 900.0
HELD_SECONDS = 5.0
"""A reading holds so long for columns that have none of their own: a daemon at rest reads once a second or less."""
_EIGHTHS = "▁▂▃▄▅▆▇█"
_HEADROOM = 1.25
_LETTERS = (("high_bytes", "H", "bold green"), ("low_bytes", "L", "bold yellow"), ("critical_bytes", "C", "bold red"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From which size the drawing begins, and where it ends; `rows` high."""

    bottom_bytes: float
    top_bytes: float
    rows: int

    def level(self, free_bytes: float) -> float:
        """Return how many rows a size reaches, 0 to `rows`."""
        if free_bytes <= self.bottom_bytes:
            return 0.0
        share = math.log(free_bytes / self.bottom_bytes) / math.log(self.top_bytes / self.bottom_bytes)
        return min(1.0, share) * self.rows


def chart(
    device: DeviceMemory,
    points: Sequence[MemoryPoint],
    *,
    width: int,
    rows: int,
    now_unix_seconds: float,
    glyphs: Glyphs,
) -> list[Text]:
    """Return a device's free memory over time as `rows` lines; none where there is nothing to draw."""
    own = [point for point in points if point.device == device.device]
    columns = width - AXIS_WIDTH
    if device.marks is None or len(own) < 2 or rows < LEAST_ROWS or columns < LEAST_ROWS:  # noqa: PLR2004  Two make a line.
        return []
    seconds = span_seconds(own, now_unix_seconds)
    levels = column_levels(own, columns, seconds, now_unix_seconds)
    scale = scale_of(device.marks, [level for level in levels if level is not None], rows)
    return [_line(row, levels, device.marks, scale, glyphs) for row in reversed(range(rows))]


def span_seconds(points: Sequence[MemoryPoint], now_unix_seconds: float) -> float:
    """Return how much time is drawn: what there is, within bounds."""
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, now_unix_seconds - points[0].unix_seconds))


def column_levels(
    points: Sequence[MemoryPoint], columns: int, seconds: float, now_unix_seconds: float
) -> list[int | None]:
    """Return the least free memory in each column's time, oldest first; None where nobody looked."""
    begin, step = now_unix_seconds - seconds, seconds / columns
    levels: list[int | None] = [None] * columns
    for point in points:
        at = min(columns - 1, int((point.unix_seconds - begin) / step))
        if at >= 0:
            known = levels[at]
            levels[at] = point.free_bytes if known is None else min(known, point.free_bytes)
    return _held(levels, held_columns=int(HELD_SECONDS / step))


def scale_of(marks: Marks, levels: Sequence[int], rows: int) -> Scale:
    """Return the scale on which the marks and all levels can be seen."""
    bottom_bytes = max(1.0, marks.critical_bytes / 2)
    top_bytes = max(_HEADROOM * marks.high_bytes, 2 * bottom_bytes, *levels, 1)
    return Scale(bottom_bytes=bottom_bytes, top_bytes=top_bytes, rows=rows)


def _held(levels: list[int | None], held_columns: int) -> list[int | None]:
    held, last, age = list(levels), None, 0
    for at, level in enumerate(levels):
        last, age = (level, 0) if level is not None else (last, age + 1)
        if level is None and age <= held_columns:
            held[at] = last
    return held


def _line(row: int, levels: Sequence[int | None], marks: Marks, scale: Scale, glyphs: Glyphs) -> Text:
    letter, style = _mark_in(row, marks, scale)
    text = Text.assemble((f"{_label(row, letter, marks, scale):>{AXIS_WIDTH - 1}} ", style or "dim"), no_wrap=True)
    empty = ("-" if glyphs is ASCII else "┈") if letter else " "
    for level in levels:
        cell = " " if level is None else _cell(scale.level(level) - row, glyphs)
        drawn = level is not None and cell != " "
        text.append(cell if drawn else empty, style=_style(level, marks) if drawn else style)
    return text


def _cell(filled: float, glyphs: Glyphs) -> str:
    eighths = math.floor(max(0.0, min(1.0, filled)) * 8)
    if glyphs is ASCII:
        return "#" if eighths >= 4 else " "  # noqa: PLR2004  Half a cell.
    return _EIGHTHS[eighths - 1] if eighths else " "


def _mark_in(row: int, marks: Marks, scale: Scale) -> tuple[str, str]:
    """Return letter and style of the mark in a row; where two meet, the graver one."""
    found = ("", "")
    for name, letter, style in _LETTERS:
        if min(scale.rows - 1, int(scale.level(getattr(marks, name)))) == row:
            found = (letter, style)
    return found


def _label(row: int, letter: str, marks: Marks, scale: Scale) -> str:
    if letter:
        name = next(name for name, known, _ in _LETTERS if known == letter)
        return f"{short_bytes(getattr(marks, name)).replace(' ', '')} {letter}"
    return short_bytes(int(scale.top_bytes)).replace(" ", "") if row == scale.rows - 1 else ""


def _style(level: int | None, marks: Marks) -> str:
    if level is None or level < marks.critical_bytes:
        return PRESSURE_STYLES[Pressure.CRITICAL]
    if level < marks.low_bytes:
        return PRESSURE_STYLES[Pressure.LOW]
    return PRESSURE_STYLES[Pressure.ROOM if level >= marks.high_bytes else Pressure.STEADY]
