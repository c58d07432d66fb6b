"""The part of a frame that shows one service: its modules, what it holds of its device, what waits. Pure."""

from dataclasses import dataclass

from rich.console import JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from memctl.bars import BLOCKS, Glyphs, share_bar
from memctl.format import short_bytes, short_duration
from memctl.module_tables import MODULE_CELLS, TIER_STYLES, WORDS, tier_totals
from memctl.service_types import DeviceUsage
from memctl.tables import Reader, directive, governed
from memctl.types import ModuleStatus, Override, Report, ServiceStatus

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
_SERVICE_ROWS = 5
_HOME_BAR = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """What a frame is drawn on. `height` None means that everything is shown, on as many lines as it takes.

    `selected` is the service and the module that keys act on.
    """

    width: int
    height: int | None
    glyphs: Glyphs = BLOCKS
    selected: tuple[str, str] | None = None


def service_part(
    service: ServiceStatus, overrides: tuple[Override, ...], rows: int, reader: Reader, canvas: Canvas
) -> list[RenderableType]:
    """Return a service's lines, its modules on so many rows."""
    title = Text.assemble((service.service, "bold"), "  ", governed(service), f"  directive {directive(service)}")
    if service.report is None:
        return [Text(""), one_line(title), Text("  no report yet", style="dim")]
    report = service.report
    tiers = f"  {tier_totals(report.modules)}   given back {short_bytes(report.released_bytes)}"
    lines = (
        Text.assemble(title, "  ", _work(report)),
        _memory(report, canvas),
        *(() if report.device is None else (_device_use(report.device),)),
        Text(tiers),
    )
    table = _modules(service, overrides, rows, reader, canvas)
    hidden = len(report.modules) - rows
    more = [Text(f"  {hidden} more modules", style="dim")] if hidden > 0 else []
    return [Text(""), *map(one_line, lines), table, *more]


def service_rows(service: ServiceStatus) -> int:
    """Return the rows that a service takes beside its modules."""
    return _SERVICE_ROWS + (service.report is not None and service.report.device is not None)


def notes(module: ModuleStatus, service: ServiceStatus, overrides: tuple[Override, ...], reader: Reader) -> Text:
    """Return what is special about a module now: an operator's override, a move that waits."""
    pending = service.report.pending_moves if service.report else ()
    found = [
        *(Text(f"to {one.tier}: {one.reason}", style="yellow") for one in pending if one.module == module.module),
        *(
            override_words(one, reader)
            for one in overrides
            if (one.service, one.module) == (service.service, module.module)
        ),
    ]
    return Text(", ").join(found)


def override_words(override: Override, reader: Reader) -> Text:
    """Return an override, and how long it still holds."""
    ends = override.expire_unix_seconds
    left = "" if ends is None else f" {short_duration(max(0.0, ends - reader.now_unix_seconds))}"
    return Text(f"{override.kind}{left}", style="magenta")


def one_line(text: Text) -> Text:
    """Return a text that is cut at the terminal's edge."""
    text.no_wrap = True
    text.overflow = "ellipsis"
    return text


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


def _device_use(usage: DeviceUsage) -> Text:
    """Return what a service holds of its device by kind: what modules are not, and what could be given back."""
    cached_bytes = max(0, usage.reserved_bytes - usage.allocated_bytes)
    context = "" if usage.context_bytes is None else f"  context {short_bytes(usage.context_bytes)}"
    return Text.assemble(
        f"  device torch {short_bytes(usage.reserved_bytes)}, ",
        (f"{short_bytes(cached_bytes)} of it cached", "yellow" if cached_bytes else ""),
        f"  arenas {short_bytes(usage.arena_bytes)}  graphs {short_bytes(usage.scratch_bytes)}{context}",
    )


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
        selected = canvas.selected == (service.service, module.module)
        table.add_row(*row, remark, style="reverse" if selected else _row_style(module))
    return table


def _text(cell: str | Text) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def _row_style(module: ModuleStatus) -> str:
    return "bold" if module.leases else TIER_STYLES.get(module.tier, "") * (module.tier != module.home)
