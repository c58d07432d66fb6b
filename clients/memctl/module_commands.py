"""`memctl evict`, `restore`, `pin`, `hold`, `release`: an operator's override for one module.

An override goes to the daemon, which keeps it in force for its time and over a restart. With --direct the service
itself is asked, past the daemon: that has no time to live, so it is never done unasked, and it ends when a daemon
gives its first directive.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from memctl.errors import MemctlError, UnreachableError
from memctl.invocation import By, Invocation, asker, usage
from memctl.link import PolicyLink, ServiceLink
from memctl.naming import is_stranger, way_out
from memctl.parse import nearest, parse_duration, suggestion
from memctl.standing import standing_lines
from memctl.tables import overrides_table, until
from memctl.types import ModuleStatus, Override, OverrideKind, PlacementAnswer, Status, Tier

RESTORE_SECONDS = 300.0
EVICT_SECONDS = 600.0

Module = Annotated[str, typer.Argument(metavar="MODULE", help="The module; `memctl top` lists them.")]
For = Annotated[
    str | None, typer.Option("--for", metavar="TIME", help="How long it holds, 1s to 30d, as in 10m or 1h30m.")
]
Direct = Annotated[
    bool,
    typer.Option(
        "--direct",
        help="Ask the service itself, where no daemon governs; holds until released or a daemon begins to govern.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """What a command asks for: the daemon's word, its time (None for ever), and the tier to ask a service for."""

    name: str
    kind: OverrideKind
    default_seconds: float | None
    tier: Callable[[ModuleStatus], Tier]


def evict(run: Invocation, module: Module, for_: For = None, *, direct: Direct = False, by: By = None) -> None:
    """Send a module away from its home and keep it away while nobody needs it, for 10 minutes unless --for says else.

    A request that needs it still brings it home.

    Examples:
      memctl evict watermark.detector
      memctl evict t3 --for 1h --service gpu-1
      memctl evict voice --direct
    """
    verb = Verb(name="evict", kind=OverrideKind.EVICT, default_seconds=EVICT_SECONDS, tier=_away)
    _ask(run, module, verb, for_, direct=direct, by=by)


def restore(run: Invocation, module: Module, for_: For = None, *, direct: Direct = False, by: By = None) -> None:
    """Bring a module home now and keep it there for 5 minutes unless --for says else.

    Examples:
      memctl restore voice
      memctl restore s3gen.flow --for 30s
    """
    verb = Verb(name="restore", kind=OverrideKind.PIN, default_seconds=RESTORE_SECONDS, tier=_home)
    _ask(run, module, verb, for_, direct=direct, by=by)


def pin(run: Invocation, module: Module, for_: For = None, *, direct: Direct = False, by: By = None) -> None:
    """Bring a module home and keep it there until it is released.

    Examples:
      memctl pin voice
      memctl pin t3 --for 8h --by ann@desk
    """
    verb = Verb(name="pin", kind=OverrideKind.PIN, default_seconds=None, tier=_home)
    _ask(run, module, verb, for_, direct=direct, by=by)


def hold(run: Invocation, module: Module, for_: For = None, *, direct: Direct = False, by: By = None) -> None:
    """Leave a module where it is until it is released.

    Examples:
      memctl hold watermark.encoder
      memctl hold voice --for 15m
    """
    verb = Verb(name="hold", kind=OverrideKind.HOLD, default_seconds=None, tier=_here)
    _ask(run, module, verb, for_, direct=direct, by=by)


def release(run: Invocation, module: Module, *, direct: Direct = False, by: By = None) -> None:
    """Take the override of a module back, so that the policy decides again. There need not be one.

    Examples:
      memctl release voice
      memctl release voice --direct
    """
    if direct:
        _place(run, module, lambda _: Tier.AUTO)
        return
    with run.daemon() as link, _advice(run, link, "release", module):
        status = link.snapshot()
        if is_stranger(status, module, run.service):
            raise MemctlError(
                f"{run.service!r} has no module {module!r}, and no override of that name is in force.",
                reason="MODULE_NOT_FOUND",
            )
        link.clear_override(run.service, module, requested_by=asker(by))
    services = [one.service for one in status.services]
    if run.service not in services:
        run.remark(f"The daemon knows no service {run.service!r} now. {nearest(run.service, services)}".rstrip())
    in_force = _others(status, run.service, module)
    told = {"released": {"service": run.service, "module": module}, "in_force": in_force}
    said = Text(f"{module} of {run.service} is released: the policy decides.", style="green")
    run.answer(told, said, *standing_lines(status, run.reader()), overrides_table(in_force, run.reader()))


def _ask(run: Invocation, module: str, verb: Verb, for_: str | None, *, direct: bool, by: str | None) -> None:
    seconds = verb.default_seconds if for_ is None else usage(parse_duration, for_, "--for")
    if direct:
        if for_ is not None:
            raise typer.BadParameter("only the daemon keeps time; leave out --for or --direct", param_hint="--for")
        _place(run, module, verb.tier)
        return
    with run.daemon() as link, _advice(run, link, verb.name, module):
        override = link.set_override(
            run.service, module, verb.kind, time_to_live_seconds=seconds, requested_by=asker(by)
        )
        status = link.snapshot()
    in_force = [*_others(status, run.service, module), override]
    run.answer({"override": override, "in_force": in_force}, *_granted(run, override, status, in_force))


def _granted(
    run: Invocation, override: Override, status: Status, in_force: list[Override]
) -> tuple[RenderableType, ...]:
    when = until(override, run.reader())
    said = f"{override.module} of {override.service}: {override.kind} until {when}, set by {override.set_by}."
    # A freeze holds back the policy, not an operator's override.
    rehearsed = standing_lines(replace(status, freeze=None), run.reader())
    return Text(said, style="green"), *rehearsed, overrides_table(in_force, run.reader())


def _place(run: Invocation, module: str, tier: Callable[[ModuleStatus], Tier]) -> None:
    with run.service_itself() as link:
        try:
            answer = link.place_module(module, tier(_module(link, module)))
        except MemctlError as error:
            if error.reason == "GOVERNED":
                raise error.advise("A daemon governs this service: leave out --direct.") from error.__cause__
            raise
    run.answer({"placement": answer}, _placed(answer))


def _placed(answer: PlacementAnswer) -> Text:
    module = answer.module
    if answer.pending_reason:
        words = f"{module.module} is in {module.tier} and goes as soon as it can: {answer.pending_reason}."
        return Text(words, style="yellow")
    return Text(f"{module.module} is in {module.tier}, decided by {module.authority}.", style="green")


def _module(link: ServiceLink, name: str) -> ModuleStatus:
    """Return a module as its service tells it, or say which there are."""
    modules = {one.module: one for one in link.get_residency().report.modules}
    if name not in modules:
        raise MemctlError(
            f"There is no module {name!r}.", reason="MODULE_NOT_FOUND", way_out=suggestion(name, modules, "Modules")
        )
    return modules[name]


def _home(module: ModuleStatus) -> Tier:
    return module.home


def _here(module: ModuleStatus) -> Tier:
    return module.tier


def _away(module: ModuleStatus) -> Tier:
    """Return the tier next to a module's home, away from the computation."""
    return Tier.HOST if module.home is Tier.DEVICE else Tier.DISK


def _others(status: Status, service: str, module: str) -> list[Override]:
    """Return the overrides of a service's other modules; on this one a status may still be a tick behind."""
    return [one for one in status.overrides if one.service == service and one.module != module]


@contextmanager
def _advice(run: Invocation, link: PolicyLink, verb: str, module: str) -> Iterator[None]:
    """While it is open, a refusal is given the way out that fits an override, and goes on its way."""
    try:
        yield
    except UnreachableError as error:
        error.advise(f"{error.way_out} Or ask the service itself: `memctl {verb} {module} --direct`.")
        raise
    except MemctlError as error:
        if error.reason == "MODULE_NOT_FOUND":
            error.advise(way_out(link.snapshot(), run.service, module))
        elif any(one.field.endswith("time_to_live") for one in error.violations):
            error.advise("Give --for a time from 1s to 30d.")
        raise
