"""Reasons and the past as tables and paragraphs. Pure."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from memctl.format import NOTHING, date_and_clock
from memctl.operator_types import Cause, Explanation, History, HistoryEvent, HistoryKind, ModuleExplanation
from memctl.tables import Reader, plain_table
from memctl.types import NumberChange, PolicyChange, Tier

KIND_STYLES: dict[HistoryKind, str] = {
    HistoryKind.POLICY: "bold cyan",
    HistoryKind.OVERRIDE: "magenta",
    HistoryKind.FREEZE: "bold yellow",
    HistoryKind.DECISION: "bold",
    HistoryKind.DIRECTIVE: "",
    HistoryKind.SERVICE: "green",
    HistoryKind.DEVICE: "red",
    HistoryKind.DAEMON: "dim",
    HistoryKind.UNKNOWN: "dim",
}


def explanation_lines(explanation: Explanation) -> list[Text]:
    """Return a paragraph for each module, and one for the last directive."""
    directive = _paragraph(Text("last directive", style="bold"), explanation.sentences)
    paragraphs = [*map(_module, explanation.modules), directive]
    return [line for at, paragraph in enumerate(paragraphs) for line in ([Text("")] * bool(at) + paragraph)]


def history_table(history: History, reader: Reader) -> RenderableType:
    """Return what happened, oldest at the bottom."""
    if not history.events:
        return Text("Nothing of that kind is in the daemon's journal.", style="dim")
    table = plain_table("TIME", "WHAT", "BY", "WORDS")
    for event in history.events:
        table.add_row(
            date_and_clock(event.unix_seconds, reader.zone),
            Text(event.kind, style=KIND_STYLES[event.kind]),
            event.requested_by or NOTHING,
            _words(event),
        )
    more = [Text("There is more: ask for it with --count or --since.", style="dim")] if history.truncated else []
    return Group(table, *more)


def numbers_table(numbers: Iterable[NumberChange]) -> RenderableType:
    """Return numbers of the policy that changed."""
    table = plain_table("SETTING", "BEFORE", "", "AFTER")
    for one in numbers:
        table.add_row(one.name, one.before, "->", Text(one.after, style="bold green"))
    return table


def changes_table(changes: Sequence[PolicyChange], reader: Reader) -> RenderableType:
    """Return the changes that can be undone, newest first."""
    if not changes:
        return Text("No change of the policy is left to be undone.", style="dim")
    table = plain_table("REVISION", "TIME", "BY", "CHANGED")
    for one in changes:
        numbers = ", ".join(f"{number.name} {number.before} -> {number.after}" for number in one.numbers)
        time = date_and_clock(one.update_unix_seconds, reader.zone)
        table.add_row(str(one.revision), time, one.updated_by or NOTHING, numbers)
    return table


def _words(event: HistoryEvent) -> Text:
    moved = [
        f"{verb} {', '.join(names)}" for verb, names in (("evict", event.evict), ("restore", event.restore)) if names
    ]
    head = f"{'; '.join(moved)}: " if moved else ""
    rehearsed = "(dry run) " if event.dry_run else ""
    version = f"{event.version} " if event.kind is HistoryKind.DIRECTIVE else ""
    service = f"{event.service} " if event.kind is HistoryKind.DIRECTIVE else ""
    return Text.assemble((rehearsed, "yellow"), f"{service}{version}", (head, "bold"), event.words)


def _module(one: ModuleExplanation) -> list[Text]:
    wanted = "" if one.wanted is Tier.AUTO else f", wanted in {one.wanted} by {_who(one)}"
    return _paragraph(Text.assemble((one.module, "bold"), f"  in {one.tier}{wanted}"), one.sentences)


def _who(one: ModuleExplanation) -> str:
    return "the policy" if one.cause is Cause.POLICY else f"an {one.cause}"


def _paragraph(title: Text, sentences: Sequence[str]) -> list[Text]:
    return [title, *(Text(f"  {sentence}") for sentence in sentences)]
