"""`memctl services`, `report`, `trim`: which services there are, how one used memory, and having it give some back."""

from pathlib import Path
from typing import Annotated

import typer

from memctl.errors import MemctlError, UnreachableError
from memctl.invocation import By, Invocation, asker
from memctl.report_types import MemoryReport
from memctl.service_tables import trim_table
from memctl.sockets import found_services
from memctl.standing import standing_lines
from memctl.tables import services_table
from memctl.types import (
    Status,
)
from memctl.usage import usage_tables

LARGEST_SAMPLES = 10_000


def services(run: Invocation) -> None:
    """List the services that the daemon knows, and those that only have a control socket.

    Without a daemon the sockets are listed alone.

    Examples:
      memctl services
      memctl services --json
    """
    sockets = found_services(run.policy_socket)
    status = _status_if_any(run, needed=not sockets)
    known = status.services if status else ()
    told = {"daemon": status is not None, "services": known, "sockets": sockets}
    held = standing_lines(status, run.reader()) if status else []
    run.answer(told, *held, services_table(known, sockets))


def report(
    run: Invocation,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw memory over time into a .png, .svg or .pdf.")
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", min=1, max=LARGEST_SAMPLES, help="At most so many of the newest samples.")
    ] = 1_000,
) -> None:
    """Tell how a service used memory since it started: by phase, peaks, averages, efficiency, moves.

    The service itself is asked, so it works without a daemon. Efficiency is the share of all module bytes that was not
    held on average: 0 % if everything stayed home, 100 % if nothing did.

    Examples:
      memctl report
      memctl report --service gpu-1 --plot memory.png
      memctl report --samples 10000 --json
    """
    with run.service_itself() as link:
        told = link.get_memory_report(samples)
    if plot is not None:
        _draw(told, run.service, plot)
        run.remark(f"Drawn into {plot}.")
    run.answer({"service": run.service, "report": told, "plot": plot}, *usage_tables(run.service, told, run.reader()))


def trim(
    run: Invocation,
    *,
    modules: Annotated[bool, typer.Option("--modules", help="Send idle modules away, too.")] = False,
    by: By = None,
) -> None:
    """Have a service give back what nobody misses: what allocators keep for use, and scratch memory that is idle.

    With --modules, also modules that nobody uses, claims, pinned or wants at home; a request that needs one brings it
    back. The service itself is asked, also while a daemon governs it: nothing is placed. Who asked is in its log.

    Examples:
      memctl trim
      memctl trim --modules --service gpu-1
      memctl trim --json
    """
    with run.service_itself() as link:
        answer = link.trim_memory(modules=modules, requested_by=asker(by))
    run.answer({"service": run.service, "trimmed": answer}, trim_table(answer))


def _status_if_any(run: Invocation, *, needed: bool) -> Status | None:
    try:
        with run.daemon() as link:
            return link.snapshot()
    except UnreachableError as error:
        if needed:
            raise
        run.remark(error.happened)
        return None


def _draw(told: MemoryReport, service: str, path: Path) -> None:
    """Draw, or say why not: the library is an extra, and a file can be unwritable or of a kind it does not know."""
    try:
        from memctl.plot import draw  # noqa: PLC0415  matplotlib is an extra, and half a second that others need not wait.
    except ImportError as error:
        raise MemctlError(
            f"Drawing needs matplotlib: {error}.",
            reason="NO_MATPLOTLIB",
            way_out="Install it with `pip install 'greenroom[client]'`, or leave out --plot.",
        ) from error
    try:
        draw(told, service, path)
    except (OSError, ValueError) as error:
        raise MemctlError(
            f"{path} cannot be written: {error}", reason="PLOT_FAILED", way_out="Name another file with --plot."
        ) from error
