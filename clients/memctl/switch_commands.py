"""`memctl undo`, `freeze` and `thaw`: taking changes back, and letting nothing move for a while."""

from typing import Annotated

import typer
from rich.text import Text

from memctl.errors import MemctlError
from memctl.invocation import By, Invocation, asker, usage
from memctl.parse import parse_duration
from memctl.reason_tables import changes_table, numbers_table
from memctl.standing import freeze_end, standing_lines


def undo(
    run: Invocation,
    *,
    to: Annotated[
        int | None, typer.Option("--to", metavar="REVISION", min=0, help="Take back all changes since this revision.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Show what can be undone, and change nothing.")] = False,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", "--dry-run", help="Check and show the result, but change nothing.")
    ] = False,
    etag: Annotated[
        str, typer.Option("--etag", metavar="ETAG", help="Refuse if the policy is no longer this version.")
    ] = "",
    by: By = None,
) -> None:
    """Take the newest change of the policy back; again, the one before it.

    Going back is a change of its own: it has a revision, and `memctl history` tells who asked. The daemon keeps the
    last 50 changes, over restarts. A file that was reloaded (SIGHUP) is one change too.

    Examples:
      memctl undo
      memctl undo --list
      memctl undo --to 12 --by ann@desk
    """
    with run.daemon() as link:
        in_force = link.get_policy()
        if show:
            run.answer({"changes": in_force.changes}, changes_table(in_force.changes, run.reader()))
            return
        try:
            answer = link.undo_policy(
                revision=to,
                etag=etag or in_force.policy.etag,
                validate_only=validate_only,
                requested_by=asker(by),
            )
        except MemctlError as error:
            raise _advised(error) from error.__cause__
    verdict = f"Revision {answer.policy.revision}, etag {answer.policy.etag}: in force from the next tick on."
    if validate_only:
        verdict = "This would be accepted. Nothing was changed."
    told = {"validate_only": validate_only, "policy": answer.policy, "numbers": answer.numbers}
    run.answer(told, numbers_table(answer.numbers), Text(verdict, style="yellow" if validate_only else "green"))


def freeze(
    run: Invocation,
    *,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="How long, 1s to 30d, as in 10m. Default: until thawed.")
    ] = None,
    by: By = None,
) -> None:
    """Let the daemon move nothing, whatever memory does: to look at something in peace, or to rule the daemon out.

    Modules that were sent away stay away until a request brings them home. Overrides (evict, pin, restore) still work,
    and so does everything that services do by themselves. It holds over a restart of the daemon.

    Examples:
      memctl freeze --for 15m
      memctl freeze --by ann@desk
    """
    seconds = None if for_ is None else usage(parse_duration, for_, "--for")
    with run.daemon() as link:
        try:
            found = link.set_freeze(time_to_live_seconds=seconds, requested_by=asker(by))
        except MemctlError as error:
            if any(one.field == "time_to_live" for one in error.violations):
                raise error.advise("Give --for a time from 1s to 30d.") from error.__cause__
            raise
    words = f"Frozen {freeze_end(found, run.reader())}, set by {found.set_by}: the daemon moves nothing."
    run.answer({"freeze": found}, Text(words, style="bold yellow"), Text("`memctl thaw` ends it."))


def thaw(run: Invocation, *, by: By = None) -> None:
    """End a freeze: the daemon decides again, from its next tick on. There need not be one.

    Examples:
      memctl thaw
    """
    with run.daemon() as link:
        link.clear_freeze(requested_by=asker(by))
        status = link.snapshot()
    rest = standing_lines(status, run.reader()) if status.dry_run else []
    run.answer({"freeze": None, "dry_run": status.dry_run}, Text("Thawed: the policy decides.", style="green"), *rest)


def _advised(error: MemctlError) -> MemctlError:
    match error.reason:
        case "NOTHING_TO_UNDO":
            return error.advise("`memctl get` shows what is in force, `memctl set` changes it.")
        case "BAD_CONFIG" | "ETAG_MISMATCH":
            return error.advise("Nothing was changed. `memctl undo --list` shows what can be undone.")
        case _:
            return error
