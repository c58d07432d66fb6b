"""`memctl get` and `memctl set`: what the policy is, and changing it."""

from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from memctl.documents import status_document
from memctl.errors import MemctlError
from memctl.format import exact_value
from memctl.invocation import By, Invocation, asker
from memctl.link import PolicyLink
from memctl.module_tables import residency_table
from memctl.parse import parse_assignments
from memctl.policy_tables import change_table, policy_table
from memctl.service_tables import device_lines, settings_table
from memctl.settings import BY_NAME
from memctl.standing import standing_lines
from memctl.tables import decisions_table, devices_table, overrides_table, services_table
from memctl.types import Policy, SettingValue

MARKS = ("critical", "low", "high")
ATTEMPTS = 3
"""Tries of a change that names no etag, when somebody else's change comes between reading and writing."""


class What(StrEnum):
    """What `memctl get` shows."""

    POLICY = "policy"
    SERVICE = "service"
    STATUS = "status"


def get(
    run: Invocation,
    what: Annotated[What, typer.Argument(help="What to show.", show_default=True)] = What.POLICY,
) -> None:
    """Show the policy in force, one service's modules and settings, or all that the daemon knows.

    The policy's marks are shown as they were set and in bytes on each device. `service` asks the service itself, so it
    works without a daemon: where its modules are, what it holds of its device, and every setting in force with where
    that came from.

    Examples:
      memctl get
      memctl get policy --json
      memctl get service --service default
      memctl get status
    """
    match what:
        case What.POLICY:
            _get_policy(run)
        case What.SERVICE:
            _get_service(run)
        case What.STATUS:
            _get_status(run)


def set_policy(
    run: Invocation,
    assignments: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE", help="Numbers to change; `memctl get` lists the names.")
    ],
    *,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", "--dry-run", help="Check and show the result, but change nothing.")
    ] = False,
    etag: Annotated[
        str | None, typer.Option("--etag", metavar="ETAG", help="Refuse if the policy is no longer this version.")
    ] = None,
    by: By = None,
) -> None:
    """Change numbers of the policy, all or none, from the daemon's next tick on.

    Sizes take B, KB, KiB, MB, MiB, GB, GiB, TB, TiB; the marks critical, low and high also percent of the total; times
    take ms, s, m, h, d. The option --dry-run tries a change; the number dry_run=true makes the daemon move nothing.

    Examples:
      memctl set low=2GiB high=15% grace=2s
      memctl set critical=500MB low=1.5GB --validate-only
      memctl set dry_run=true --by ann@desk
      memctl set background_restore=off --etag 3f2a
      memctl undo
    """
    values = _assigned(assignments)
    with run.daemon() as link:
        before, after = change(link, values, etag=etag, validate_only=validate_only, requested_by=asker(by))
    changed = [name for name in values if before.values.get(name) != after.values.get(name)]
    told = {"validate_only": validate_only, "changed": changed, "before": before, "after": after}
    run.answer(told, change_table(before, after, values), _verdict(after, validate_only=validate_only))


def change(
    link: PolicyLink, values: dict[str, SettingValue], *, etag: str | None, validate_only: bool, requested_by: str
) -> tuple[Policy, Policy]:
    """Change the policy and return it before and after.

    Without an etag the change is based on what was just read, so that `before` is true; when somebody else was faster
    it is read again, because the numbers that are asked for do not depend on what they were.
    """
    for attempt in range(1, ATTEMPTS + 1):
        before = link.get_policy().policy
        try:
            after = link.update_policy(
                values, etag=etag or before.etag, validate_only=validate_only, requested_by=requested_by
            )
        except MemctlError as error:
            if error.reason == "ETAG_MISMATCH" and etag is None and attempt < ATTEMPTS:
                continue
            raise _advised(error, before, values) from error.__cause__
        return before, after
    raise AssertionError("the last attempt returns or raises")


def _get_policy(run: Invocation) -> None:
    with run.daemon() as link:
        in_force, status = link.get_policy(), link.snapshot()
    told = {
        "policy": in_force.policy,
        "update_unix_seconds": in_force.update_unix_seconds,
        "updated_by": in_force.updated_by,
        "marks": [{"device": one.device, "marks": one.marks} for one in status.devices],
    }
    run.answer(told, *standing_lines(status, run.reader()), policy_table(in_force, status.devices, run.reader()))


def _get_service(run: Invocation) -> None:
    with run.service_itself() as link:
        residency, settings = link.get_residency(), link.get_settings()
    told = {
        "service": residency.service,
        "service_instance_id": residency.service_instance_id,
        "report": residency.report,
        "settings": settings,
    }
    device = residency.report.device
    run.answer(
        told,
        residency_table(residency.service, residency.report, run.reader(), run.out.width),
        *(() if device is None else (device_lines(device),)),
        Text(""),
        settings_table(settings),
    )


def _get_status(run: Invocation) -> None:
    with run.daemon() as link:
        status = link.snapshot()
    reader = run.reader()
    titles = [Text(title, style="bold underline") for title in ("Memory", "Services", "Overrides", "Decisions")]
    tables = (
        devices_table(status.devices),
        services_table(status.services, {}),
        overrides_table(status.overrides, reader),
        decisions_table(status.decisions, reader),
    )
    parts = [part for title, table in zip(titles, tables, strict=True) for part in (Text(""), title, table)]
    run.answer(status_document(status, run.clock()), *standing_lines(status, reader), *parts[1:])


def _assigned(assignments: list[str]) -> dict[str, SettingValue]:
    try:
        return parse_assignments(assignments)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="NAME=VALUE") from None


def _verdict(after: Policy, *, validate_only: bool) -> Text:
    if validate_only:
        return Text("This would be accepted. Nothing was changed.", style="yellow")
    words = f"Revision {after.revision}, etag {after.etag}: in force from the next tick on."
    idle = "  The daemon only rehearses (dry_run=true): it moves nothing." if after.values.get("dry_run") else ""
    return Text.assemble((words, "green"), (idle, "yellow"))


def _advised(error: MemctlError, before: Policy, values: dict[str, SettingValue]) -> MemctlError:
    """Return a refusal with the way out that fits it."""
    match error.reason:
        case "ETAG_MISMATCH":
            return error.advise(
                f"The policy is at revision {before.revision}, etag {before.etag}: look at it with `memctl get`, "
                f"then repeat with --etag {before.etag}, or without --etag."
            )
        case "BAD_CONFIG" if set(MARKS) & set(values):
            marks = ", ".join(f"{name} {exact_value(BY_NAME[name], before.values.get(name))}" for name in MARKS)
            return error.advise(
                f"Nothing was changed. In force: {marks}. They must rise in this order; move several at once, "
                "as in `memctl set low=2GiB high=3GiB`."
            )
        case "BAD_CONFIG":
            return error.advise("Nothing was changed. `memctl get` shows what is in force.")
        case _:
            return error
