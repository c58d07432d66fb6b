"""Modules and what a service says of itself as tables. Pure."""

from collections.abc import Callable, Sequence

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from memctl.format import short_ago, short_bytes, short_duration
from memctl.tables import Reader
from memctl.types import ModuleState, ModuleStatus, Report, Tier

TIER_STYLES: dict[Tier, str] = {Tier.DEVICE: "bold green", Tier.HOST: "cyan", Tier.DISK: "dim"}
Cell = Callable[[ModuleStatus, Reader], str | Text]
MODULE_CELLS: dict[str, Cell] = {
    "MODULE": lambda module, _: module.module,
    "TIER": lambda module, _: _tier(module),
    "SIZE": lambda module, _: short_bytes(module.home_bytes),
    "HOLDS": lambda module, _: short_bytes(sum(module.bytes_by_tier.values())),
    "IN USE": lambda module, _: f"{module.leases}/{module.claims}",
    "LEASES": lambda module, _: str(module.leases),
    "CLAIMS": lambda module, _: str(module.claims),
    "USES": lambda module, _: str(module.uses),
    "LAST USE": lambda module, reader: short_ago(module.last_use_unix_seconds, reader.now_unix_seconds),
    "RESTORE": lambda module, _: short_duration(module.restore_seconds),
    "EVICT": lambda module, _: short_duration(module.evict_seconds),
    "IN/OUT": lambda module, _: f"{module.restores}/{module.evictions}",
    "BY": lambda module, _: f"{module.authority}{', pinned' * module.pinned}",
}
NARROW_COLUMNS = ("MODULE", "TIER", "SIZE", "IN USE", "LAST USE", "RESTORE", "BY")
COLUMNS = ("MODULE", "TIER", "SIZE", "HOLDS", "IN USE", "USES", "LAST USE", "RESTORE", "EVICT", "IN/OUT", "BY")
WIDE_FROM = 100
"""Columns of the terminal from which on all of a module's fit."""
WORDS = frozenset({"MODULE", "TIER", "BY", "NOTES"})
"""Columns of words; the others are figures and stand to the right."""


def modules_table(modules: Sequence[ModuleStatus], reader: Reader, columns: Sequence[str] = COLUMNS) -> Table:
    """Return modules with columns of `MODULE_CELLS`; no cell folds, so a header of two words has two lines."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for column in columns:
        justify: JustifyMethod = "left" if column in WORDS else "right"
        table.add_column(column.replace(" ", "\n"), justify=justify, vertical="bottom", no_wrap=True)
    for module in modules:
        table.add_row(*(MODULE_CELLS[column](module, reader) for column in columns))
    return table


def tier_totals(modules: Sequence[ModuleStatus]) -> str:
    """Return how many modules are in each tier and what all of them hold there, closest tier first."""
    words = []
    for tier in TIER_STYLES:
        there = [module for module in modules if module.tier is tier]
        held_bytes = sum(module.bytes_by_tier.get(tier, 0) for module in modules)
        if there or held_bytes:
            words.append(f"{tier} {len(there)} of {len(modules)} modules, {short_bytes(held_bytes)}")
    return "   ".join(words)


def _tier(module: ModuleStatus) -> Text:
    """Return where a module is and, if it does not rest there, what it is doing."""
    tier = Text(module.tier, style=TIER_STYLES.get(module.tier, ""))
    return tier if module.state is ModuleState.RESTING else Text.assemble(tier, (f" {module.state}", "yellow"))


def residency_table(service: str, report: Report, reader: Reader, width: int) -> RenderableType:
    """Return one service's own word on where everything is, in as many columns as fit."""
    modules = modules_table(report.modules, reader, COLUMNS if width >= WIDE_FROM else NARROW_COLUMNS)
    pending = [Text(f"{one.module} should go to {one.tier}: {one.reason}") for one in report.pending_moves]
    return Group(Text.assemble((service, "bold"), "  ", residency_line(report)), modules, *pending)


def residency_line(report: Report) -> str:
    """Return the figures of a service in one line."""
    budget = "" if report.budget_bytes is None else f" of {short_bytes(report.budget_bytes)}"
    step = f", a step needs {short_bytes(report.largest_step_bytes)}" if report.largest_step_bytes else ""
    waits = f", {report.restore_waits} waits ({short_duration(report.restore_wait_seconds)})"
    return (
        f"home {short_bytes(report.home_bytes)}{budget}{step} | process {short_bytes(report.process_bytes)} | "
        f"given back {short_bytes(report.released_bytes)} | {report.sessions} sessions, "
        f"{report.queued_utterances} queued{waits * bool(report.restore_waits)}"
    )
