"""Values as tables for a terminal: overrides in force, services, devices, decisions. Pure.

Every function takes values and returns something that rich prints; moments need the reader's clock and zone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from rich.console import JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from memctl.bars import PRESSURE_STYLES
from memctl.format import (
    NOTHING,
    clock,
    short_bytes,
    short_duration,
)
from memctl.types import (
    Decision,
    DeviceMemory,
    Override,
    Report,
    ServiceStatus,
)

_MARKED = ("critical", "low", "high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads: their time, and their zone (None for the machine's own)."""

    now_unix_seconds: float
    zone: tzinfo | None = None


def plain_table(*headers: str, right: Iterable[str] = ()) -> Table:
    """Return an empty table without lines, as a terminal's other commands print them; names never fold."""
    rights = set(right)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for position, header in enumerate(headers):
        narrowest = max((len(word) for word in header.split()), default=0)
        justify: JustifyMethod = "right" if header in rights else "left"
        table.add_column(header, justify=justify, overflow="fold", min_width=narrowest, no_wrap=position == 0)
    return table


def overrides_table(overrides: Sequence[Override], reader: Reader) -> RenderableType:
    """Return the operators' overrides in force."""
    if not overrides:
        return Text("No overrides in force.", style="dim")
    table = plain_table("SERVICE", "MODULE", "OVERRIDE", "UNTIL", "BY")
    for one in overrides:
        table.add_row(one.service, one.module, one.kind, until(one, reader), one.set_by)
    return table


def until(override: Override, reader: Reader) -> str:
    """Return when an override ends and how long that is from now."""
    if override.expire_unix_seconds is None:
        return "released"
    left_seconds = max(0.0, override.expire_unix_seconds - reader.now_unix_seconds)
    return f"{clock(override.expire_unix_seconds, reader.zone)} ({short_duration(left_seconds)})"


def services_table(services: Sequence[ServiceStatus], sockets: dict[str, Path]) -> RenderableType:
    """Return the services that the daemon knows and those that only have a socket."""
    if not services and not sockets:
        return Text("No services: start one with `tts-service`.", style="dim")
    table = plain_table(
        "SERVICE", "GOVERNED", "DEVICE", "DIRECTIVE", "HOME", "PROCESS", "SESSIONS", right=("SESSIONS",)
    )
    for one in services:
        table.add_row(one.service, governed(one), one.device or NOTHING, directive(one), *_service_figures(one.report))
    for name in sorted(set(sockets) - {one.service for one in services}):
        table.add_row(name, Text("unknown to the daemon", style="yellow"), *([NOTHING] * 5))
    return table


def governed(service: ServiceStatus) -> Text:
    """Return whether the daemon governs a service, or why not."""
    if service.governed:
        return Text(f"epoch {service.epoch}", style="green")
    return Text(service.reason or "no", style="yellow")


def devices_table(devices: Sequence[DeviceMemory]) -> RenderableType:
    """Return memory and marks of every device."""
    table = plain_table("DEVICE", "PRESSURE", "FREE", "TOTAL", "CRITICAL", "LOW", "HIGH", "ERROR")
    for one in devices:
        pressure = Text(one.pressure, style=PRESSURE_STYLES[one.pressure])
        marks = [effective_mark(one, name) for name in _MARKED]
        table.add_row(
            one.device, pressure, short_bytes(one.free_bytes), short_bytes(one.total_bytes), *marks, one.error
        )
    return table


def decisions_table(decisions: Sequence[Decision], reader: Reader) -> RenderableType:
    """Return what the daemon decided, newest first."""
    if not decisions:
        return Text("No decisions yet.", style="dim")
    table = plain_table("TIME", "SERVICE", "VERSION", "MOVES", "REASON", right=("VERSION",))
    for one in decisions:
        version = "dry run" if one.dry_run else str(one.version)
        table.add_row(clock(one.unix_seconds, reader.zone), one.service, version, moves(one), one.reason)
    return table


def moves(decision: Decision) -> str:
    """Return the modules that a decision moves; a dash for none."""
    words = ["trim"] * decision.trim + [f"{verb} {', '.join(names)}" for verb, names in _by_verb(decision) if names]
    return "; ".join(words) or NOTHING


def effective_mark(device: DeviceMemory, name: str) -> str:
    """Return a mark in bytes on a device; nothing for a setting that is no mark."""
    if device.marks is None or name not in _MARKED:
        return ""
    return short_bytes(getattr(device.marks, f"{name}_bytes"))


def directive(service: ServiceStatus) -> str:
    """Return the last directive sent to a service, and whether it is done."""
    if not service.directive_version:
        return NOTHING
    applied = service.report is not None and service.report.applied_version >= service.directive_version
    return f"{service.directive_version} {'done' if applied else 'under way'}"


def _service_figures(report: Report | None) -> tuple[str, str, str]:
    if report is None:
        return NOTHING, NOTHING, NOTHING
    budget = "" if report.budget_bytes is None else f" of {short_bytes(report.budget_bytes)}"
    return f"{short_bytes(report.home_bytes)}{budget}", short_bytes(report.process_bytes), str(report.sessions)


def _by_verb(decision: Decision) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (
        ("evict", decision.evict),
        ("restore", decision.restore),
        ("to disk", decision.to_disk),
        ("to host", decision.to_host),
    )
