"""Reasons and the past as tables and paragraphs. Pure."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from memctl.format import NOTHING, date_and_clock, exact_value
from memctl.operator_types import Cause, Explanation, History, HistoryEvent, HistoryKind, ModuleExplanation
from memctl.parse import parse_value
from memctl.settings import BY_KEY, Kind, Setting
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
        return Text("The daemon's journal has nothing of that kind.", style="dim")
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
    for one in map(as_typed, numbers):
        table.add_row(one.name, one.before, "->", Text(one.after, style="bold green"))
    return table


def as_typed(number: NumberChange) -> NumberChange:
    """Return a changed number as `memctl set` takes it: the journal has whole names, and seconds without a unit."""
    setting = BY_KEY.get(number.name)
    if setting is None:
        return number
    before, after = (_typed(setting, text) for text in (number.before, number.after))
    return NumberChange(name=setting.name, before=before, after=after)


def numbers_words(numbers: Iterable[NumberChange]) -> str:
    """Return changed numbers in one line."""
    return ", ".join(f"{one.name} {one.before} -> {one.after}" for one in map(as_typed, numbers))


def changes_table(changes: Sequence[PolicyChange], reader: Reader) -> RenderableType:
    """Return the changes that can be undone, newest first."""
    if not changes:
        return Text("No change of the policy is left to be undone.", style="dim")
    table = plain_table("REVISION", "TIME", "BY", "CHANGED")
    for one in changes:
        time = date_and_clock(one.update_unix_seconds, reader.zone)
        table.add_row(str(one.revision), time, one.updated_by or NOTHING, numbers_words(one.numbers))
    return table


def _words(event: HistoryEvent) -> Text:
    moved = [
        f"{verb} {', '.join(names)}" for verb, names in (("evict", event.evict), ("restore", event.restore)) if names
    ]
    head = f"{'; '.join(moved)}: " if moved else ""
    rehearsed = "(dry run) " if event.dry_run else ""
    named = f"{event.service} directive {event.version} " if event.kind is HistoryKind.DIRECTIVE else ""
    words = event.words
    if event.kind is HistoryKind.POLICY and event.numbers:
        words = f"{words.partition(':')[0]}: {numbers_words(event.numbers)}"
    return Text.assemble((rehearsed, "yellow"), named, (head, "bold"), words)


def _typed(setting: Setting, text: str) -> str:
    """Return a value of the journal's as it would be typed; as it stands where that cannot be told."""
    try:
        if setting.kind is Kind.DURATION:
            return exact_value(setting, float(text))
        if setting.kind in {Kind.RATE, Kind.SIZE}:
            return exact_value(setting, int(text))
        return exact_value(setting, parse_value(setting, f"{text}%" if setting.kind is Kind.PERCENT else text))
    except ValueError:
        return text


def _module(one: ModuleExplanation) -> list[Text]:
    wanted = "" if one.wanted is Tier.AUTO else f", wanted in {one.wanted} by {_who(one)}"
    return _paragraph(Text.assemble((one.module, "bold"), f"  in {one.tier}{wanted}"), one.sentences)


def _who(one: ModuleExplanation) -> str:
    return "the policy" if one.cause is Cause.POLICY else f"an {one.cause}"


def _paragraph(title: Text, sentences: Sequence[str]) -> list[Text]:
    return [title, *(Text(f"  {sentence}") for sentence in sentences)]
