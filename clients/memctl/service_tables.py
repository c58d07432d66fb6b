"""What a service tells of itself beside its modules, as tables and lines. Pure."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from memctl.format import NOTHING, short_bytes
from memctl.service_types import DeviceUsage, MemoryKind, ServiceSetting, SettingSource, TrimAnswer, WaitingUsage
from memctl.tables import plain_table

KIND_WORDS: dict[MemoryKind, str] = {
    MemoryKind.DEVICE_CACHE: "kept by the allocator",
    MemoryKind.SCRATCH: "scratch memory",
    MemoryKind.MODULES: "modules at home",
    MemoryKind.PROCESS: "process",
    MemoryKind.UNKNOWN: "unknown",
}


def device_lines(usage: DeviceUsage) -> RenderableType:
    """Return what a service holds of its device, and how much in pieces that is; what is not known is left out."""
    held = [
        f"device {short_bytes(usage.reserved_bytes)}, {short_bytes(usage.allocated_bytes)} of it in use",
        f"arenas {short_bytes(usage.arena_bytes)}",
        f"scratch {short_bytes(usage.scratch_bytes)}",
        *_known("context", usage.context_bytes),
    ]
    around = [
        *_known("largest free block", usage.largest_free_block_bytes),
        f"pinned on the host {short_bytes(usage.pinned_host_bytes)}",
    ]
    if usage.free_bytes is not None and usage.total_bytes is not None:
        around.append(f"free for all {short_bytes(usage.free_bytes)} of {short_bytes(usage.total_bytes)}")
    lines = [held, around, *([] if usage.waiting is None else [_waiting_parts(usage.waiting)])]
    return Group(*(Text(" | ".join(parts)) for parts in lines))


def _waiting_parts(usage: WaitingUsage) -> list[str]:
    """Return what is to be said of speech that nobody plays."""
    used, most = short_bytes(usage.used_bytes), short_bytes(usage.most_bytes)
    return [
        f"paused speech on the host: {usage.segments} segments, {used} of {most}",
        f"left {usage.departures} times for {usage.away_seconds:.0f} s",
        *([f"stayed {usage.refusals} times for want of room"] if usage.refusals else []),
    ]


def settings_table(settings: Sequence[ServiceSetting]) -> RenderableType:
    """Return every setting in force; those that somebody set stand out, and say where."""
    table = plain_table("SETTING", "VALUE", "FROM")
    for setting in settings:
        own = setting.source is SettingSource.DEFAULT
        origin = f" {setting.origin}" if setting.origin else ""
        style = "dim" if own else "bold cyan"
        table.add_row(setting.name, Text(setting.value or NOTHING, style=style), f"{setting.source}{origin}")
    return table


def trim_table(answer: TrimAnswer) -> RenderableType:
    """Return what was given back of each kind, and the modules that left for it."""
    figures = ("BEFORE", "AFTER", "GIVEN BACK")
    table = plain_table("MEMORY", *figures, "LEFT BECAUSE", right=figures)
    for one in answer.kinds:
        given_bytes = max(0, one.before_bytes - one.after_bytes)
        sizes = (short_bytes(size) for size in (one.before_bytes, one.after_bytes, given_bytes))
        table.add_row(KIND_WORDS[one.kind], *sizes, one.obstacle)
    left = Text(f"Sent away: {', '.join(answer.modules)}.") if answer.modules else Text("No module was sent away.")
    return Group(table, left) if answer.device is None else Group(table, left, device_lines(answer.device))


def _known(what: str, byte_count: int | None) -> list[str]:
    return [] if byte_count is None else [f"{what} {short_bytes(byte_count)}"]
