"""One run of the command: whom to dial, how to answer, and the options that every command shares.

`command` turns a function of an `Invocation` and its own options into one that typer takes: it adds the shared
options, which may stand before or after the command's name, prints what went wrong, and sets the exit code.
"""

import getpass
import inspect
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from memctl.documents import document, error_document
from memctl.errors import MemctlError
from memctl.link import PolicyLink, ServiceLink, policy_link, service_link
from memctl.parse import parse_duration
from memctl.sockets import POLICY_SOCKET_VARIABLE, own_policy_socket, service_socket
from memctl.tables import Reader

DEFAULT_SERVICE = "default"
DEFAULT_TIMEOUT = "5s"
PIPE_WIDTH = 140
"""Columns where there is no terminal and COLUMNS says nothing: wide enough that tables need not fold."""

_Own = ParamSpec("_Own")
_Parsed = TypeVar("_Parsed")
By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who asks, for the daemon's journal. Default: you, at this machine."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What every command needs. `service_socket` is used where the daemon is not asked.

    `named_service` is empty where none was named, and `service` is the default one.
    """

    policy_socket: Path
    service: str
    named_service: str
    service_socket: Path
    timeout_seconds: float
    json: bool
    out: Console
    err: Console
    clock: Callable[[], float] = time.time

    def daemon(self) -> AbstractContextManager[PolicyLink]:
        """Return a link to the daemon."""
        return policy_link(self.policy_socket, timeout_seconds=self.timeout_seconds)

    def service_itself(self) -> AbstractContextManager[ServiceLink]:
        """Return a link to the service, past the daemon."""
        return service_link(self.service_socket, timeout_seconds=self.timeout_seconds)

    def reader(self) -> Reader:
        """Return whose time moments are told in."""
        return Reader(now_unix_seconds=self.clock())

    def answer(self, value: Mapping[str, Any], *shown: RenderableType) -> None:
        """Print the answer: one line of JSON if that was asked for, else what people read."""
        if self.json:
            self.out.file.write(json.dumps(document(dict(value)), allow_nan=False) + "\n")
            self.out.file.flush()
            return
        for one in shown:
            _print(self.out, one)

    def remark(self, words: str) -> None:
        """Say something beside the answer, so that it never stands in its way."""
        _print(self.err, Text(words, style="yellow"))

    def complain(self, error: MemctlError) -> None:
        """Say what went wrong, and the way out."""
        if self.json:
            self.err.file.write(json.dumps(error_document(error)) + "\n")
            return
        _print(self.err, Text.assemble(("memctl: ", "bold red"), error.happened))
        for one in error.violations:
            if one.description in error.happened:
                continue
            _print(self.err, Text(f"  {one.field}: {one.description}"))
        if error.way_out:
            _print(self.err, Text(error.way_out, style="yellow"))


def command(call: Callable[Concatenate[Invocation, _Own], None]) -> Callable[..., None]:
    """Return the function for typer: `call` with the shared options beside its own."""
    own = list(inspect.signature(call).parameters.values())[1:]

    def run(ctx: typer.Context, **arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in _SHARED}
        before = ctx.obj if isinstance(ctx.obj, dict) else {}
        invocation = open_invocation({**before, **_told(given)})
        try:
            call(invocation, **arguments)  # type: ignore[call-arg]  # typer fills exactly the parameters of `call`.
        except MemctlError as error:
            invocation.complain(error)
            raise typer.Exit(error.exit_code) from None

    return _dressed(run, call.__name__, call.__doc__, own)


def root(call: Callable[..., None]) -> Callable[..., None]:
    """Return the function for typer's callback: it keeps the shared options for the command that follows."""
    own = list(inspect.signature(call).parameters.values())

    def keep(ctx: typer.Context, **arguments: Any) -> None:
        ctx.obj = _told({name: arguments.pop(name) for name in _SHARED})
        call(**arguments)

    return _dressed(keep, call.__name__, call.__doc__, own)


def open_invocation(given: Mapping[str, Any]) -> Invocation:
    """Return the invocation for the shared options that were given; BadParameter for one that makes no sense."""
    policy_socket = given.get("socket_path") or own_policy_socket()
    service, control_socket = service_socket(policy_socket, given.get("service", DEFAULT_SERVICE))
    timeout_seconds = usage(parse_duration, given.get("timeout", DEFAULT_TIMEOUT), "--timeout")
    if timeout_seconds <= 0:
        raise typer.BadParameter("it must be more than 0", param_hint="--timeout")
    return Invocation(
        policy_socket=policy_socket,
        service=service,
        named_service=service if "service" in given else "",
        service_socket=control_socket,
        timeout_seconds=timeout_seconds,
        json=bool(given.get("as_json")),
        out=_console(sys.stdout),
        err=_console(sys.stderr),
    )


def usage(parse: Callable[[str], _Parsed], text: str, option: str) -> _Parsed:
    """Return what a text means; a text that means nothing is wrong usage of that option."""
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def asker(given: str | None) -> str:
    """Return who asks: as given, else the user at this machine."""
    if given:
        return given
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container's user need not have a name.
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _shared(
    socket_path: Annotated[
        Path | None,
        typer.Option(
            "--socket",
            metavar="PATH",
            help=f"The daemon's policy socket. Default: ${POLICY_SOCKET_VARIABLE}, or where the daemon puts it.",
        ),
    ] = None,
    service: Annotated[
        str | None,
        typer.Option(
            "--service",
            metavar="NAME",
            help=f"The service, by name or by the path of its control socket. Default: {DEFAULT_SERVICE}.",
        ),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="TIME", help=f"How long an answer may take. Default: {DEFAULT_TIMEOUT}."),
    ] = None,
    as_json: Annotated[bool | None, typer.Option("--json", help="Answer in JSON, errors on stderr too.")] = None,
) -> None:
    """Carry the shared options; never called."""


_SHARED = inspect.signature(_shared).parameters


def _told(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _dressed(
    run: Callable[..., None], name: str, words: str | None, own: list[inspect.Parameter]
) -> Callable[..., None]:
    """Give `run` the name, the words and the parameters that typer looks at."""
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [context, *own, *_SHARED.values()]
    signature = inspect.Signature([one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters])
    run.__name__, run.__doc__ = name, _flowing(words or "")
    run.__signature__ = signature  # type: ignore[attr-defined]  # Read by inspect, unknown to the checker.
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _flowing(words: str) -> str:
    """Return a docstring with its paragraphs on one line each, for the terminal to fold; examples stay as they are.

    Brackets are words, not markup. The empty markup before an example keeps its indent from being taken off.
    """
    paragraphs = escape(inspect.cleandoc(words)).split("\n\n")
    return "\n\n".join(
        one.replace("\n  ", "\n[dim][/dim]  ") if one.startswith("Examples:") else one.replace("\n", " ")
        for one in paragraphs
    )


def _print(console: Console, shown: RenderableType) -> None:
    """Print; a sentence is folded between words at a terminal's edge, below its own beginning, and never in a pipe."""
    if not isinstance(shown, Text) or not console.is_terminal:
        console.print(shown, soft_wrap=isinstance(shown, Text))
        return
    indent = len(shown.plain) - len(shown.plain.lstrip(" "))
    console.print(Padding(shown[indent:], (0, 0, 0, indent)) if shown.plain.strip() else shown)


def _console(file: Any) -> Console:
    """Return a console without guessing at colours or emoji in our words; NO_COLOR and pipes turn colours off."""
    width = None if file.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)
