"""The command line put together: which commands there are, under which names."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from memctl import (
    module_commands,
    policy_commands,
    reason_commands,
    service_commands,
    simulation_commands,
    switch_commands,
    watch_commands,
)
from memctl.invocation import command, root

PACKAGE = "greenroom"
COMMANDS: dict[str, Callable[..., None]] = {
    "get": policy_commands.get,
    "set": policy_commands.set_policy,
    "undo": switch_commands.undo,
    "freeze": switch_commands.freeze,
    "thaw": switch_commands.thaw,
    "top": watch_commands.top,
    "watch": watch_commands.watch,
    "explain": reason_commands.explain,
    "history": reason_commands.history,
    "evict": module_commands.evict,
    "restore": module_commands.restore,
    "pin": module_commands.pin,
    "hold": module_commands.hold,
    "release": module_commands.release,
    "services": service_commands.services,
    "report": service_commands.report,
    "trim": service_commands.trim,
    "simulate": simulation_commands.simulate,
    "record": simulation_commands.record,
}


def build_app() -> typer.Typer:
    """Return the command line."""
    app = typer.Typer(
        name="memctl",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root(_memctl))
    for name, call in COMMANDS.items():
        app.command(name)(command(call))
    return app


def _show_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"memctl {version(PACKAGE)}")
        raise typer.Exit


def _memctl(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Tell the version.", callback=lambda wanted: _show_version(wanted=wanted), is_eager=True
        ),
    ] = False,
) -> None:
    """Watch and tune the memory daemon, which decides which modules of a speech service stay in memory.

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 nobody to reach, 130 interrupted. Options may stand before
    or after the command. Colours are off without a terminal and with NO_COLOR. The daemon's socket is
    greenroom/policy.sock under $XDG_RUNTIME_DIR; without that, greenroom-UID/policy.sock under the temporary directory.

    Examples:
      memctl top
      memctl set low=2GiB high=15% grace=2s
      memctl evict watermark.detector --for 10m
      memctl explain t3
      memctl undo
      memctl report --plot memory.png
    """
