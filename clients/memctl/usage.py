"""A service's memory report as tables. Pure."""

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from memctl.format import short_bytes
from memctl.module_tables import modules_table
from memctl.report_types import MemoryReport
from memctl.tables import Reader, plain_table

_SIZES = ("AVERAGE PROCESS", "PEAK PROCESS", "AVERAGE HOME", "PEAK HOME")
_DEVICE_SIZES = ("AVERAGE DEVICE", "PEAK DEVICE")
_MODULE_COLUMNS = ("MODULE", "TIER", "SIZE", "USES", "LAST USE", "RESTORE", "EVICT", "IN/OUT", "BY")


def usage_tables(service: str, report: MemoryReport, reader: Reader) -> tuple[RenderableType, ...]:
    """Return use by phase, the whole in figures, and the modules."""
    samples = sum(usage.samples for usage in report.phases)
    if report.history_off:
        title = Text.assemble(("Memory of ", ""), (service, "bold"), ": it keeps no history (residency.history=false)")
        return title, Text(""), _with_moves(_plain(), report), Text(""), _modules(report, reader)
    title = Text.assemble(("Memory of ", ""), (service, "bold"), f", {samples} samples since it started")
    return title, Text(""), _phases(report, samples), Text(""), _figures(report), Text(""), _modules(report, reader)


def _phases(report: MemoryReport, samples: int) -> RenderableType:
    if not report.phases:
        return Text("No samples yet.", style="dim")
    names = (*_SIZES, *(_DEVICE_SIZES if report.peak_device_bytes is not None else ()))
    table = plain_table("PHASE", "SAMPLES", "SHARE", *names, right=("SAMPLES", "SHARE", *names))
    for usage in report.phases:
        share = usage.samples / samples if samples else 0.0
        sizes = (
            usage.average_process_bytes,
            usage.peak_process_bytes,
            usage.average_home_bytes,
            usage.peak_home_bytes,
            usage.average_device_bytes,
            usage.peak_device_bytes,
        )[: len(names)]
        table.add_row(usage.phase, str(usage.samples), f"{share:.0%}", *(short_bytes(size) for size in sizes))
    return table


def _figures(report: MemoryReport) -> Table:
    table = _plain()
    held = f"average {short_bytes(report.average_home_bytes)}, peak {short_bytes(report.peak_home_bytes)}"
    table.add_row("Process at its peak", short_bytes(report.peak_process_bytes))
    if report.peak_device_bytes is not None:
        table.add_row("Device at its peak", short_bytes(report.peak_device_bytes))
    table.add_row("Modules at home", f"{held}, of {short_bytes(report.all_home_bytes)} had all stayed")
    table.add_row("Efficiency", Text(f"{report.efficiency:.1%} not held on average", style="bold cyan"))
    return _with_moves(table, report)


def _with_moves(table: Table, report: MemoryReport) -> Table:
    table.add_row("Came home", f"{_times(report.restores)}, {short_bytes(report.restored_bytes)}")
    table.add_row("Left", f"{_times(report.evictions)}, {short_bytes(report.released_bytes)} given back")
    return table


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _plain() -> Table:
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def _modules(report: MemoryReport, reader: Reader) -> RenderableType:
    return modules_table(report.modules, reader, _MODULE_COLUMNS)
