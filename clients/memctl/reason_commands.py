"""`memctl explain` and `memctl history`: why things are as they are, and how they came to be so."""

from typing import Annotated

import typer

from memctl.errors import MemctlError
from memctl.invocation import Invocation, usage
from memctl.naming import is_stranger, modules_of, way_out
from memctl.operator_types import HistoryKind, HistoryQuestion
from memctl.parse import nearest, parse_duration, suggestion
from memctl.reason_tables import explanation_lines, history_table
from memctl.standing import standing_lines
from memctl.types import Status

LARGEST_COUNT = 1_000
NAMED_KINDS = tuple(kind for kind in HistoryKind if kind is not HistoryKind.UNKNOWN)


def explain(
    run: Invocation,
    module: Annotated[str, typer.Argument(metavar="MODULE", help="The module; all of them without it.")] = "",
) -> None:
    """Tell why a module is where it is: who put it there, who wants it where, what it waits for, what would move it.

    Also why the last directive was sent to the service, what is in it, and what became of it.

    Examples:
      memctl explain
      memctl explain t3
      memctl explain s3gen.flow --service gpu-1 --json
    """
    with run.daemon() as link:
        status = link.snapshot()
        try:
            explanation = link.explain(run.service, module)
        except MemctlError as error:
            if error.reason == "MODULE_NOT_FOUND":
                raise error.advise(way_out(status, run.service, module)) from error.__cause__
            raise
    told = {"service": run.service, "dry_run": status.dry_run, "freeze": status.freeze, "explanation": explanation}
    run.answer(told, *standing_lines(status, run.reader()), *explanation_lines(explanation))


def history(
    run: Invocation,
    module: Annotated[str, typer.Argument(metavar="MODULE", help="Only what names this module.")] = "",
    *,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=LARGEST_COUNT, help="At most so many.")] = 50,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="KIND", help=f"Only these, repeatable: {', '.join(NAMED_KINDS)}."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only the last so long, as in 30m or 2d.")
    ] = None,
) -> None:
    """Show what was decided and changed, newest first.

    Decisions and directives with their reasons, overrides and freezes, changes of the policy with who made them, from
    what to what, services that came and went, what happened to a device. With --service, only what names it.

    It is read from the daemon's journal, so it goes back over restarts as far as the journal does.

    Examples:
      memctl history
      memctl history t3 --since 1h
      memctl history --kind policy --kind override -n 200
      memctl history --kind decision --json
    """
    begin = None if since is None else run.clock() - usage(parse_duration, since, "--since")
    question = HistoryQuestion(
        events_maximum=count,
        kinds=tuple(usage(_kind, one, "--kind") for one in kind or ()),
        service=run.named_service,
        module=module,
        start_unix_seconds=begin,
    )
    with run.daemon() as link:
        status, found = link.snapshot(), link.get_history(question)
    if module and not found.events and is_stranger(status, module, run.named_service):
        run.remark(f"No service has a module {module!r} now. {nearest(module, _modules(status))}".rstrip())
    told = {"dry_run": status.dry_run, "freeze": status.freeze, "events": found.events, "truncated": found.truncated}
    run.answer(told, *standing_lines(status, run.reader()), history_table(found, run.reader()))


def _modules(status: Status) -> list[str]:
    return [name for one in status.services for name in modules_of(status, one.service)]


def _kind(word: str) -> HistoryKind:
    """Return the kind of what happened that a word names; ValueError with those that there are."""
    if word not in NAMED_KINDS:
        raise ValueError(f"there is no kind {word!r}. {suggestion(word, NAMED_KINDS, 'Kinds')}")
    return HistoryKind(word)
