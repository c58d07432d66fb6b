"""Why a module is where it is, and why the last directive was sent: in words for an operator.

Pure. Everything is read from what the daemon publishes: the newest report of the service, what is wanted of it, and the
newest decision about each module. Nothing is guessed: what is not known is left out.
"""

from dataclasses import dataclass
from enum import Enum

from memory_daemon.board import DeviceStatus, Status
from memory_daemon.link_view import LinkView
from memory_daemon.past import Past
from memory_daemon.sizes import size_text
from memory_daemon.types import (
    Authority,
    Decided,
    MemorySample,
    ModuleName,
    ModuleState,
    ModuleStatus,
    Override,
    Placement,
    Tier,
    Urgency,
    Wish,
)

MINUTE_SECONDS = 60
HOUR_SECONDS = 3600
_BROUGHT = {
    Authority.DEFAULT: "by its service's own judgement",
    Authority.DIRECTIVE: "by a daemon's directive",
    Authority.OPERATOR: "by its service's operator",
    Authority.DEMAND: "because a request needed it",
    Authority.UNKNOWN: "for a reason that this daemon does not know",
}


class Cause(Enum):
    """Who wants a module where it is wanted."""

    NOBODY = "nobody"
    POLICY = "policy"
    OVERRIDE = "override"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleExplanation:
    """Why one module is where it is; `wanted` None where that is left to its service."""

    status: ModuleStatus
    wanted: Tier | None
    cause: Cause
    decided: Decided | None
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectiveExplanation:
    """Why the last directive was sent."""

    decided: Decided | None
    sentences: tuple[str, ...]


def explain_module(
    status: Status, past: Past, view: LinkView, module: ModuleStatus, now_unix_seconds: float
) -> ModuleExplanation:
    """Return why a module of a service is where it is."""
    placement = _placement(status.wishes.get(view.service), module.module)
    override = _override(status, view, module.module)
    decided = past.moved.get((view.service, module.module))
    sentences = (
        _where(module),
        _wanted(placement, override, now_unix_seconds),
        *_decided(decided, now_unix_seconds),
        *_waiting(view, module, placement),
        *_holds(status, view, now_unix_seconds),
        *_outlook(status, view, module, override),
    )
    return ModuleExplanation(
        status=module,
        wanted=None if placement is None else placement.tier,
        cause=_cause(placement, override),
        decided=decided,
        sentences=sentences,
    )


def explain_directive(status: Status, past: Past, view: LinkView, now_unix_seconds: float) -> DirectiveExplanation:
    """Return why the last directive was sent to a service, and what became of it."""
    decided = past.directed.get(view.service)
    if decided is None:
        return DirectiveExplanation(
            decided=None, sentences=(f"Nothing was asked of {view.service} since the daemon began.",)
        )
    age = age_text(now_unix_seconds - decided.unix_seconds)
    sent = f"Directive {decided.version} was sent {age} ago"
    if decided.dry_run:
        sent = f"A directive would have been sent {age} ago, but the daemon only rehearses (dry run)"
    wish = status.wishes.get(view.service, Wish())
    sentences = (f"{sent}: {decided.reason}.", _content(wish), *(() if decided.dry_run else _outcome(view)))
    return DirectiveExplanation(decided=decided, sentences=sentences)


def age_text(seconds: float) -> str:
    """Return a length of time as an operator says it, such as `12 s` or `3 min`."""
    if seconds < MINUTE_SECONDS:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < HOUR_SECONDS:
        return f"{seconds / MINUTE_SECONDS:.0f} min"
    return f"{seconds / HOUR_SECONDS:.1f} h"


def _where(module: ModuleStatus) -> str:
    name, tier = module.module, _tier(module.tier)
    match module.state:
        case ModuleState.RESTORING:
            return f"{name} is coming home: it is on its way from {tier} to {_tier(module.home)}."
        case ModuleState.EVICTING:
            return f"{name} is leaving {tier}."
        case ModuleState.BROKEN:
            return f"{name} is broken in {tier}: its service's log says why."
        case _:
            place = f"at home in {tier}" if module.at_home else f"away, in {tier} (its home is {_tier(module.home)})"
            return f"{name} is {place}, {_BROUGHT[module.authority]}."


def _wanted(placement: Placement | None, override: Override | None, now_unix_seconds: float) -> str:
    if placement is None:
        return "No directive names it: its service decides for itself, and a request may always bring it home."
    tier = _tier(placement.tier)
    if override is not None:
        ends = override.expire_unix_seconds
        until = "until it is cleared" if ends is None else f"for {age_text(ends - now_unix_seconds)} more"
        by = f" of {override.set_by}" if override.set_by else ""
        return f"An operator's override{by} ({override.kind.value}, {until}) wants it in {tier}."
    urgent = placement.urgency is Urgency.WHEN_UNLEASED
    return f"The policy wants it in {tier}{', even while utterances claim it' if urgent else ''}."


def _decided(decided: Decided | None, now_unix_seconds: float) -> tuple[str, ...]:
    if decided is None:
        return ("No decision has moved it since the daemon began.",)
    age = age_text(now_unix_seconds - decided.unix_seconds)
    rehearsed = " (dry run, nothing was sent)" if decided.dry_run else f" (directive {decided.version})"
    return (f"The newest decision about it was {age} ago{rehearsed}: {decided.reason}.",)


def _waiting(view: LinkView, module: ModuleStatus, placement: Placement | None) -> tuple[str, ...]:
    if placement is None or placement.tier == module.tier:
        return ()
    pending = () if view.report is None else view.report.pending_moves
    reasons = [move.reason for move in pending if move.module == module.module]
    if reasons:
        return (f"It has not moved yet: {', '.join(reasons)}.",)
    if module.authority is Authority.DEMAND:
        return ("A request needed it after that; it may be asked away again after its minimum residence.",)
    return ("It is not there yet.",)


def _holds(status: Status, view: LinkView, now_unix_seconds: float) -> tuple[str, ...]:
    """Say what keeps the daemon from moving anything now."""
    found = []
    if not view.governed:
        found.append(f"The daemon does not govern {view.service}: {view.reason}.")
    if status.kept.policy.dry_run:
        found.append("The daemon only rehearses (dry run): it sends nothing.")
    if status.freeze is not None:
        ends = status.freeze.expire_unix_seconds
        until = "until it is cleared" if ends is None else f"for {age_text(ends - now_unix_seconds)} more"
        by = f" of {status.freeze.set_by}" if status.freeze.set_by else ""
        found.append(f"An operator's freeze{by} keeps the daemon from moving anything {until}.")
    return tuple(found)


def _outlook(status: Status, view: LinkView, module: ModuleStatus, override: Override | None) -> tuple[str, ...]:
    """Say what would move it next."""
    device = next((one for one in status.devices if one.sample.device == view.device.device), None)
    if override is not None or device is None:
        return ()
    if device.marks is None or not isinstance(device.sample, MemorySample):
        return ("Memory cannot be read: nothing is decided.",)
    return (_stays(status, device, module) if module.at_home else _returns(status, device, module),)


def _stays(status: Status, device: DeviceStatus, module: ModuleStatus) -> str:
    assert device.marks is not None
    if module.pinned:
        return "Its service's configuration pins it: no directive moves it."
    marks, grace_seconds = device.marks, status.kept.policy.grace_seconds
    below = f"below {size_text(marks.low_bytes)} free for {grace_seconds:g} s, or below "
    below += f"{size_text(marks.critical_bytes)} at once; {_free(device)} now"
    if module.leases:
        return f"It is in use now ({module.leases} leases), so it stays; idle, it may leave {below}."
    if module.claims:
        return f"{module.claims} open utterances claim it, so it leaves only in need. Unclaimed, it may leave {below}."
    return f"It may leave {below}."


def _returns(status: Status, device: DeviceStatus, module: ModuleStatus) -> str:
    assert device.marks is not None
    needed_bytes = device.marks.high_bytes + module.home_bytes
    if not status.kept.policy.background_restore:
        return "It comes home when a request needs it (background_restore is off)."
    room = f"{size_text(needed_bytes)} are free ({_free(device)} now)"
    return f"It comes home when a request needs it, or in the background if it is used and {room}."


def _content(wish: Wish) -> str:
    if not wish.placements:
        return "It leaves every module to the service."
    wanted = ", ".join(f"{one.module} in {_tier(one.tier)}" for one in wish.placements)
    budget = "" if wish.budget_bytes is None else f", and at most {size_text(wish.budget_bytes)} at home"
    return f"It wants {wanted}{budget}; all others are left to the service."


def _outcome(view: LinkView) -> tuple[str, ...]:
    version = view.directive_version
    if view.refusal is not None and view.refusal.version == version:
        return (f"The service refused it: {view.refusal.reason}.",)
    if view.report is None or view.report.accepted_version < version:
        return ("The service has not accepted it yet.",)
    if view.report.applied_version >= version:
        return ("It is done.",)
    waiting = ", ".join(f"{move.module} ({move.reason})" for move in view.report.pending_moves)
    return (f"It is accepted and not done yet{f'; waiting: {waiting}' if waiting else ''}.",)


def _placement(wish: Wish | None, module: ModuleName) -> Placement | None:
    return None if wish is None else next((one for one in wish.placements if one.module == module), None)


def _override(status: Status, view: LinkView, module: ModuleName) -> Override | None:
    named = (view.service, module)
    return next((one for one in status.overrides if (one.service, one.module) == named), None)


def _cause(placement: Placement | None, override: Override | None) -> Cause:
    if placement is None:
        return Cause.NOBODY
    return Cause.POLICY if override is None else Cause.OVERRIDE


def _free(device: DeviceStatus) -> str:
    return size_text(device.sample.free_bytes) if isinstance(device.sample, MemorySample) else "an unknown size"


def _tier(tier: Tier) -> str:
    return tier.name
