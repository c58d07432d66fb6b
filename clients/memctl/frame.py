"""One frame of `memctl top`: what the daemon sees, wants and decided, fitted to a terminal. Pure.

From the top: the daemon and the line to it; each device's memory with the marks on its bar; each service with its
modules; the last decisions with their reasons. What does not fit is counted, never silently left out.
"""

from dataclasses import dataclass

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from memctl.bars import BLOCKS, PRESSURE_STYLES, Glyphs, memory_bar, share_bar
from memctl.format import NOTHING, clock, short_ago, short_bytes, short_duration
from memctl.line import Glimpse, Line
from memctl.module_tables import MODULE_CELLS, TIER_STYLES, WORDS, tier_totals
from memctl.tables import Reader, directive, governed, moves
from memctl.types import Decision, DeviceMemory, ModuleStatus, Override, Report, ServiceStatus, Status

NARROW_COLUMNS = ("MODULE", "TIER", "SIZE", "IN USE", "LAST USE", "RESTORE")
WIDE_COLUMNS = (
    "MODULE",
    "TIER",
    "SIZE",
    "HOLDS",
    "LEASES",
    "CLAIMS",
    "USES",
    "LAST USE",
    "RESTORE",
    "EVICT",
    "IN/OUT",
    "BY",
)
WIDE_FROM = 140
DECISIONS_KEPT = 3
"""Rows that decisions keep when modules want them too."""
STALE_SECONDS = 3.0
"""From this age on a frame says how old it is; a daemon speaks at least once a second unless it is tuned otherwise."""
_DEVICE_ROWS = 2
_SERVICE_ROWS = 5
_DECISION_ROWS = 2
"""A blank line and the title."""
_BAR_SIDES = 20
_HOME_BAR = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """What a frame is drawn on. `height` None means that everything is shown, on as many lines as it takes."""

    width: int
    height: int | None
    glyphs: Glyphs = BLOCKS


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
    fixed = len(head) + _DEVICE_ROWS * len(status.devices) + len(strays)
    given = fit(status, fixed, canvas.height)
    parts: list[RenderableType] = [*head]
    for device in status.devices:
        parts += _device(device, canvas)
    if not status.services:
        parts += [Text(""), Text("no services: start one with `tts-service`", style="dim")]
    for service, rows in zip(status.services, given.modules, strict=True):
        parts += _service(service, status.overrides, rows, reader, canvas)
    parts += [*strays, *_decisions(status.decisions, given.decisions, reader, canvas)]
    return Group(*parts)


def fit(status: Status, fixed_rows: int, height: int | None) -> Fit:
    """Return the rows for modules and decisions; decisions give way to modules down to a few."""
    wanted = [len(service.report.modules) if service.report else 0 for service in status.services]
    if height is None:
        return Fit(modules=tuple(wanted), decisions=len(status.decisions))
    kept = min(DECISIONS_KEPT, len(status.decisions)) + _DECISION_ROWS
    left = height - fixed_rows - _SERVICE_ROWS * len(status.services) - kept
    modules = []
    for want in wanted:
        # A line that counts the hidden ones takes the place of the last row.
        modules.append(want if want <= left else max(0, left - 1))
        left = max(0, left - want)
    return Fit(modules=tuple(modules), decisions=min(len(status.decisions), max(0, kept - _DECISION_ROWS + left)))


def notes(module: ModuleStatus, service: ServiceStatus, overrides: tuple[Override, ...], reader: Reader) -> Text:
    """Return what is special about a module now: an operator's override, a move that waits."""
    pending = service.report.pending_moves if service.report else ()
    found = [
        *(Text(f"to {one.tier}: {one.reason}", style="yellow") for one in pending if one.module == module.module),
        *(_override(one, reader) for one in overrides if (one.service, one.module) == (service.service, module.module)),
    ]
    return Text(", ").join(found)


def _head(glimpse: Glimpse, reader: Reader, canvas: Canvas) -> Text:
    status = glimpse.status
    words = Text.assemble((status.holder_id or "memory daemon", "bold"), f"  policy revision {status.policy.revision}")
    if status.policy.values.get("dry_run"):
        words.append("  DRY RUN: nothing moves", style="bold yellow")
    if reader.now_unix_seconds - glimpse.received_unix_seconds > STALE_SECONDS:
        words.append(f"  as of {short_ago(glimpse.received_unix_seconds, reader.now_unix_seconds)} ago", style="yellow")
    words.truncate(max(0, canvas.width - 10), overflow="ellipsis")
    now = clock(reader.now_unix_seconds, reader.zone)
    return _one_line(Text.assemble(words, " " * max(1, canvas.width - words.cell_len - len(now)), now))


def _line(glimpse: Glimpse, reader: Reader) -> list[Text]:
    line = glimpse.line
    if line.down_unix_seconds is None:
        return []
    return [_one_line(Text(_gone(line, glimpse.received_unix_seconds, reader), style="bold white on red"))]


def _gone(line: Line, received_unix_seconds: float, reader: Reader) -> str:
    age = short_duration(max(0.0, reader.now_unix_seconds - received_unix_seconds))
    return f"No daemon, dialling again ({line.attempts}); last seen {age} ago. {line.cause}"


def _device(device: DeviceMemory, canvas: Canvas) -> list[Text]:
    style = PRESSURE_STYLES[device.pressure]
    name = f"{device.device[:10]:<10} "
    if device.error:
        error = Text.assemble((name, "bold"), (f"cannot be read: {device.error}", "bold red"))
        return [_one_line(error), Text("")]
    bar = memory_bar(device, max(8, canvas.width - _BAR_SIDES), canvas.glyphs)
    first = Text.assemble((name, "bold"), (f"{device.pressure:<8} ", style), bar)
    return [_one_line(first), _one_line(_legend(device))]


def _legend(device: DeviceMemory) -> Text:
    """Return what is free and what the letters on the bar stand for."""
    free = Text(f"  {short_bytes(device.free_bytes)} free of {short_bytes(device.total_bytes)}")
    if device.marks is None:
        return free
    marks = device.marks
    levels = (("Critical", marks.critical_bytes), ("Low", marks.low_bytes), ("High", marks.high_bytes))
    words = "  ".join(f"{name} {short_bytes(level_bytes)}" for name, level_bytes in levels)
    return Text.assemble(free, (f"   {words}", "dim"))


def _service(
    service: ServiceStatus, overrides: tuple[Override, ...], rows: int, reader: Reader, canvas: Canvas
) -> list[RenderableType]:
    title = Text.assemble((service.service, "bold"), "  ", governed(service), f"  directive {directive(service)}")
    if service.report is None:
        return [Text(""), _one_line(title), Text("  no report yet", style="dim")]
    report = service.report
    tiers = f"  {tier_totals(report.modules)}   given back {short_bytes(report.released_bytes)}"
    lines = (Text.assemble(title, "  ", _work(report)), _memory(report, canvas), Text(tiers))
    table = _modules(service, overrides, rows, reader, canvas)
    hidden = len(report.modules) - rows
    more = [Text(f"  {hidden} more modules", style="dim")] if hidden > 0 else []
    return [Text(""), *map(_one_line, lines), table, *more]


def _work(report: Report) -> str:
    waits = f"{report.restore_waits} waits ({short_duration(report.restore_wait_seconds)})"
    return f"{report.sessions} sessions  {report.queued_utterances} queued  {waits}"


def _memory(report: Report, canvas: Canvas) -> Text:
    """Return what modules hold at home, beside the budget or, without one, beside what all of them would."""
    bound = "in all" if report.budget_bytes is None else "budget"
    bound_bytes = report.budget_bytes
    if bound_bytes is None:
        bound_bytes = sum(module.home_bytes for module in report.modules)
    share = report.home_bytes / bound_bytes if bound_bytes else 0.0
    held = f" {short_bytes(report.home_bytes)} of {short_bytes(bound_bytes)} {bound}"
    process = f"  process {short_bytes(report.process_bytes)}"
    return Text.assemble("  home ", (share_bar(share, _HOME_BAR, canvas.glyphs).plain, "cyan"), held, process)


def _modules(
    service: ServiceStatus, overrides: tuple[Override, ...], rows: int, reader: Reader, canvas: Canvas
) -> Table:
    assert service.report is not None
    columns = WIDE_COLUMNS if canvas.width >= WIDE_FROM else NARROW_COLUMNS
    shown = service.report.modules[:rows]
    cells = [[_text(MODULE_CELLS[column](module, reader)) for column in columns] for module in shown]
    taken = sum(max(len(column), *(row[at].cell_len for row in cells), 0) + 1 for at, column in enumerate(columns))
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for column in (*columns, "NOTES"):
        justify: JustifyMethod = "left" if column in WORDS else "right"
        table.add_column(column, justify=justify, no_wrap=True, overflow="ellipsis")
    for module, row in zip(shown, cells, strict=True):
        remark = notes(module, service, overrides, reader)
        remark.truncate(max(1, canvas.width - taken), overflow="ellipsis")
        table.add_row(*row, remark, style=_row_style(module))
    return table


def _text(cell: str | Text) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def _row_style(module: ModuleStatus) -> str:
    return "bold" if module.leases else TIER_STYLES.get(module.tier, "") * (module.tier != module.home)


def _strays(status: Status, reader: Reader) -> list[Text]:
    """Return the overrides of modules that no service has reported: nobody would see them otherwise."""
    shown = {(one.service, module.module) for one in status.services if one.report for module in one.report.modules}
    strays = [one for one in status.overrides if (one.service, one.module) not in shown]
    return [
        _one_line(Text.assemble(f"override of {one.service}/{one.module}: ", _override(one, reader))) for one in strays
    ]


def _override(override: Override, reader: Reader) -> Text:
    ends = override.expire_unix_seconds
    left = "" if ends is None else f" {short_duration(max(0.0, ends - reader.now_unix_seconds))}"
    return Text(f"{override.kind}{left}", style="magenta")


def _decisions(decisions: tuple[Decision, ...], rows: int, reader: Reader, canvas: Canvas) -> list[RenderableType]:
    if not decisions:
        return [Text(""), Text("no decisions yet", style="dim")]
    title = f"DECISIONS, {rows} of {len(decisions)}" if rows < len(decisions) else "DECISIONS"
    lines = [_decision(one, reader) for one in decisions[:rows]]
    return [Text(""), Text(title, style="dim"), *(lines if canvas.height is None else map(_one_line, lines))]


def _decision(decision: Decision, reader: Reader) -> Text:
    time = clock(decision.unix_seconds, reader.zone)
    moved = moves(decision)
    what = "" if moved == NOTHING else f"{moved}: "
    return Text.assemble(
        (f"{time} ", "dim"), f"{decision.service} {decision.version}  ", (what, "bold"), decision.reason
    )


def _one_line(text: Text) -> Text:
    text.no_wrap = True
    text.overflow = "ellipsis"
    return text
