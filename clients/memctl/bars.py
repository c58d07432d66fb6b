"""Bars of memory, drawn with characters. Pure.

The marks are levels of *free* memory, so each stands where what is used would leave just so much free: the bar grows
from the left towards H (high), L (low) and C (critical). Letters, not colours, carry the meaning.
"""

from dataclasses import dataclass

from rich.text import Text

from memctl.types import DeviceMemory, Marks, Pressure

PRESSURE_STYLES: dict[Pressure, str] = {
    Pressure.ROOM: "green",
    Pressure.STEADY: "cyan",
    Pressure.LOW: "yellow",
    Pressure.CRITICAL: "bold red",
    Pressure.UNKNOWN: "magenta",
}
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """What a bar is made of."""

    partial: str
    full: str
    free: str


BLOCKS = Glyphs(partial=_EIGHTHS, full="█", free="░")
ASCII = Glyphs(partial=" #", full="#", free=".")


def memory_bar(device: DeviceMemory, width: int, glyphs: Glyphs = BLOCKS) -> Text:
    """Return a device's used memory as `width` cells with the marks on it."""
    share = device.used_bytes / device.total_bytes if device.total_bytes > 0 else 0.0
    cells = _cells(share, width, glyphs)
    bar = Text(cells, style=PRESSURE_STYLES[device.pressure], no_wrap=True)
    for column, letter, style in mark_columns(device.marks, device.total_bytes, width):
        bar = Text.assemble(bar[:column], (letter, style), bar[column + 1 :], no_wrap=True)
    return bar


def mark_columns(marks: Marks | None, total_bytes: int, width: int) -> list[tuple[int, str, str]]:
    """Return column, letter and style of each mark; where two would meet, the graver one is drawn last and stays."""
    if marks is None or total_bytes <= 0 or width <= 0:
        return []
    levels = ((marks.high_bytes, "H", "bold green"), (marks.low_bytes, "L", "bold yellow"))
    worst = (marks.critical_bytes, "C", "bold red")
    return [(_column(free_bytes, total_bytes, width), letter, style) for free_bytes, letter, style in (*levels, worst)]


def share_bar(share: float, width: int, glyphs: Glyphs = BLOCKS) -> Text:
    """Return a share between 0 and 1 as `width` cells."""
    return Text(_cells(share, width, glyphs), no_wrap=True)


def _cells(share: float, width: int, glyphs: Glyphs) -> str:
    steps = len(glyphs.partial) - 1
    filled = round(min(1.0, max(0.0, share)) * width * steps)
    full, rest = divmod(filled, steps)
    partial = glyphs.partial[rest] if rest else ""
    return glyphs.full * full + partial + glyphs.free * (width - full - len(partial))


def _column(free_bytes: int, total_bytes: int, width: int) -> int:
    used_bytes = total_bytes - min(total_bytes, max(0, free_bytes))
    return min(width - 1, used_bytes * width // total_bytes)
