"""One frame of `memctl top`: what the daemon sees, wants and decided, fitted to a terminal. Pure.

From the top: the daemon and the line to it; each device's memory with the marks on its bar; each service with its
modules; the last decisions with their reasons. What does not fit is counted, never silently left out.
"""

import re
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from memctl.bars import PRESSURE_STYLES, memory_bar
from memctl.chart import MOST_ROWS, chart, span_seconds
from memctl.format import NOTHING, clock, short_ago, short_bytes, short_duration
from memctl.ledger_tables import foresight_lines, ledger_lines
from memctl.line import Glimpse, Line
from memctl.service_frame import Canvas, one_line, override_words, service_part, service_rows
from memctl.standing import standing
from memctl.tables import Reader, moves
from memctl.types import Decision, DeviceMemory, Status

DECISIONS_KEPT = 3
"""Rows that decisions keep when modules want them too."""
STALE_SECONDS = 3.0
"""From this age on a frame says how old it is; a daemon speaks at least once a second unless it is tuned otherwise."""
_DEVICE_ROWS = 2
_DECISION_ROWS = 2
"""A blank line and the title."""
_BAR_SIDES = 20
_LEGEND_GAP = 3
_NUMBERED = re.compile(r"(-[0-9a-f]{8})(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How many rows each service's modules get, in order, and how many the decisions."""

    modules: tuple[int, ...]
    decisions: int


def frame(glimpse: Glimpse, reader: Reader, canvas: Canvas) -> RenderableType:
    """Return one frame."""
    status = glimpse.status
    head = [_head(glimpse, reader, canvas), *_line(glimpse, reader)]
    strays = _strays(status, reader)
    shared = [one_line(line) for line in (*ledger_lines(status.ledgers), *foresight_lines(status.predictions))]
    fixed = len(head) + _DEVICE_ROWS * len(status.devices) + len(shared) + len(strays)
    rows = chart_rows(status, fixed, canvas.height)
    charts = [_chart(device, glimpse, rows, reader, canvas) for device in status.devices]
    given = fit(status, fixed + sum(map(len, charts)), canvas.height)
    parts: list[RenderableType] = [*head]
    for device, drawn in zip(status.devices, charts, strict=True):
        parts += [*_device(device, canvas, _chart_words(device, glimpse, reader) if drawn else ""), *drawn]
    parts += shared
    if not status.services:
        parts += [Text(""), Text("no services: start one with `tts-service`", style="dim")]
    for service, rows in zip(status.services, given.modules, strict=True):
        parts += service_part(service, status.overrides, rows, reader, canvas)
    parts += [*strays, *_decisions(status.decisions, given.decisions, reader, canvas)]
    return Group(*parts)


def fit(status: Status, fixed_rows: int, height: int | None) -> Fit:
    """Return the rows for modules and decisions; decisions give way to modules down to a few."""
    wanted = [len(service.report.modules) if service.report else 0 for service in status.services]
    if height is None:
        return Fit(modules=tuple(wanted), decisions=len(status.decisions))
    kept = min(DECISIONS_KEPT, len(status.decisions)) + _DECISION_ROWS
    left = height - fixed_rows - sum(map(service_rows, status.services)) - kept
    modules = []
    for want in wanted:
        # A line that counts the hidden ones takes the place of the last row.
        modules.append(want if want <= left else max(0, left - 1))
        left = max(0, left - want)
    return Fit(modules=tuple(modules), decisions=min(len(status.decisions), max(0, kept - _DECISION_ROWS + left)))


def chart_rows(status: Status, fixed_rows: int, height: int | None) -> int:
    """Return the rows for each device's memory over time: what modules and a few decisions leave, within bounds."""
    if height is None or not status.devices:
        return MOST_ROWS - 2
    modules = sum(len(service.report.modules) for service in status.services if service.report)
    needed = fixed_rows + sum(map(service_rows, status.services)) + modules + _DECISION_ROWS
    left = height - needed - min(DECISIONS_KEPT, len(status.decisions))
    return max(0, min(MOST_ROWS, left // len(status.devices)))


def _head(glimpse: Glimpse, reader: Reader, canvas: Canvas) -> Text:
    status = glimpse.status
    words = Text(_short_name(status.holder_id) or "memory daemon", style="bold")
    held = standing(status, reader)
    if held:
        words.append(f"  {held}", style="bold yellow")
    words.append(f"  policy revision {status.policy.revision}", style="not bold")
    if reader.now_unix_seconds - glimpse.received_unix_seconds > STALE_SECONDS:
        words.append(f"  as of {short_ago(glimpse.received_unix_seconds, reader.now_unix_seconds)} ago", style="yellow")
    words.truncate(max(0, canvas.width - 10), overflow="ellipsis")
    now = clock(reader.now_unix_seconds, reader.zone)
    return one_line(Text.assemble(words, " " * max(1, canvas.width - words.cell_len - len(now)), now))


def _short_name(holder_id: str) -> str:
    """Return a daemon's id with the first eight digits of its number: whole, it would push out what matters."""
    return _NUMBERED.sub(r"\1", holder_id)


def _line(glimpse: Glimpse, reader: Reader) -> list[Text]:
    line = glimpse.line
    if line.down_unix_seconds is None:
        return []
    return [one_line(Text(_gone(line, glimpse.received_unix_seconds, reader), style="bold white on red"))]


def _gone(line: Line, received_unix_seconds: float, reader: Reader) -> str:
    age = short_duration(max(0.0, reader.now_unix_seconds - received_unix_seconds))
    return f"No daemon, dialling again ({line.attempts}); last seen {age} ago. {line.cause}"


def _device(device: DeviceMemory, canvas: Canvas, charted: str) -> list[Text]:
    style = PRESSURE_STYLES[device.pressure]
    name = f"{device.device[:10]:<10} "
    if device.error:
        error = Text.assemble((name, "bold"), (f"cannot be read: {device.error}", "bold red"))
        return [one_line(error), Text("")]
    bar = memory_bar(device, max(8, canvas.width - _BAR_SIDES), canvas.glyphs)
    first = Text.assemble((name, "bold"), (f"{device.pressure:<8} ", style), bar)
    return [one_line(first), one_line(_legend(device, charted, canvas.width))]


def _chart(device: DeviceMemory, glimpse: Glimpse, rows: int, reader: Reader, canvas: Canvas) -> list[Text]:
    return chart(
        device,
        glimpse.points,
        width=canvas.width,
        rows=rows,
        now_unix_seconds=reader.now_unix_seconds,
        glyphs=canvas.glyphs,
    )


def _chart_words(device: DeviceMemory, glimpse: Glimpse, reader: Reader) -> str:
    own = [point for point in glimpse.points if point.device == device.device]
    return f"  free over {short_duration(span_seconds(own, reader.now_unix_seconds))}"


def _legend(device: DeviceMemory, charted: str, width: int) -> Text:
    """Return what is free, what the letters on the bar stand for, and what is drawn below, in words if they fit."""
    free = f"  {short_bytes(device.free_bytes)} free of {short_bytes(device.total_bytes)}"
    if device.marks is None:
        return Text(free)
    marks = device.marks
    levels = (("Critical", marks.critical_bytes), ("Low", marks.low_bytes), ("High", marks.high_bytes))
    words, letters = (
        "  ".join(f"{name[:size]} {short_bytes(level_bytes)}" for name, level_bytes in levels) for size in (8, 1)
    )
    fits = len(free) + len(words) + len(charted) + _LEGEND_GAP <= width
    return Text.assemble(free, (f"{' ' * _LEGEND_GAP}{words if fits else letters}{charted}", "dim"))


def _strays(status: Status, reader: Reader) -> list[Text]:
    """Return the overrides of modules that no service has reported: nobody would see them otherwise."""
    shown = {(one.service, module.module) for one in status.services if one.report for module in one.report.modules}
    strays = [one for one in status.overrides if (one.service, one.module) not in shown]
    return [
        one_line(Text.assemble(f"override of {one.service}/{one.module}: ", override_words(one, reader)))
        for one in strays
    ]


def _decisions(decisions: tuple[Decision, ...], rows: int, reader: Reader, canvas: Canvas) -> list[RenderableType]:
    if not decisions:
        return [Text(""), Text("no decisions yet", style="dim")]
    title = f"DECISIONS, {rows} of {len(decisions)}" if rows < len(decisions) else "DECISIONS"
    lines = [_decision(one, reader) for one in decisions[:rows]]
    return [Text(""), Text(title, style="dim"), *(lines if canvas.height is None else map(one_line, lines))]


def _decision(decision: Decision, reader: Reader) -> Text:
    time = clock(decision.unix_seconds, reader.zone)
    moved = moves(decision)
    what = "" if moved == NOTHING else f"{moved}: "
    named = f"{decision.service} {'dry run' if decision.dry_run else decision.version}"
    return Text.assemble((f"{time} ", "dim"), f"{named}  ", (what, "bold"), decision.reason)
