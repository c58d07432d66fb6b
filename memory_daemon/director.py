"""Turns what is wanted into directives, hands them over, and says why.

The newest directive is handed over every tick, changed or not: a link renews it only while it is, so that a daemon that
hangs lets its word expire.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from memory_daemon.decision import Decision
from memory_daemon.directives import Issued, issue
from memory_daemon.link_view import LinkView
from memory_daemon.marks import Policy
from memory_daemon.orders import DeviceState, Order
from memory_daemon.placements import compose, moves, shifts
from memory_daemon.recorder import Recorder
from memory_daemon.types import Decided, Directive, ModuleName, Override, ResidencyReport, Sample, ServiceName, Wish

DECISIONS_MAXIMUM = 20
OVERRIDES_NAMED = 3
"""A reason names so many overrides, and counts the others."""

_log = structlog.get_logger(__name__)


class Mailboxes(Protocol):
    """Takes the newest directive for each service; waits for nobody."""

    def post(self, service: ServiceName, directive: Directive | None) -> None:
        """Hand over the newest directive; None lets the last one expire."""

    def trim(self, service: ServiceName, number: int) -> None:
        """Ask a service once for what its allocator keeps; its view will have the answer under that number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What was handed over last: under which epoch, by which policy, and the directive, None in a dry run."""

    epoch: int
    policy: Policy
    directive: Directive | None


class Director:
    """The directives in force, and the newest decisions."""

    def __init__(self, *, mailboxes: Mailboxes, recorder: Recorder) -> None:
        self._mailboxes = mailboxes
        self._recorder = recorder
        self._issued: dict[ServiceName, Issued] = {}
        self._asked: dict[ServiceName, tuple[int, int]] = {}
        self._said: dict[ServiceName, _Said] = {}
        self._overrides: tuple[Override, ...] = ()
        self._decided: deque[Decided] = deque(maxlen=DECISIONS_MAXIMUM)

    def __repr__(self) -> str:
        return f"<Director {' '.join(f'{name}={issued.version}' for name, issued in self._issued.items()) or 'idle'}>"

    @property
    def decided(self) -> tuple[Decided, ...]:
        """The newest decisions, newest first."""
        return tuple(self._decided)

    @property
    def wishes(self) -> Mapping[ServiceName, Wish]:
        """What is wanted of each service now, sent or not."""
        return {service: issued.wish for service, issued in self._issued.items()}

    def note(self, sample: Sample, decision: Decision) -> None:
        """Log a decision that has a reason, and show it unless a directive will."""
        if decision.reason:
            _log.info("decided", device=sample.device, pressure=decision.pressure.value, reason=decision.reason)
            if not any((decision.evict, decision.restore, decision.trim, decision.to_disk, decision.to_host)):
                nobody = ServiceName("")
                self._decided.appendleft(
                    Decided(
                        unix_seconds=sample.unix_seconds,
                        service=nobody,
                        version=0,
                        reason=decision.reason,
                        device=sample.device,
                    )
                )

    def forget(self, governed: frozenset[ServiceName]) -> None:
        """Forget all services but these."""
        self._issued = {name: issued for name, issued in self._issued.items() if name in governed}
        self._asked = {name: asked for name, asked in self._asked.items() if name in governed}
        self._said = {name: said for name, said in self._said.items() if name in governed}

    def repeat(self, view: LinkView, overrides: tuple[Override, ...], policy: Policy) -> bool:
        """Hand the last directive over again, for a service of which nothing else was decided.

        Tells whether that is what is wanted: not under another epoch or policy, or where operators wish other things.
        """
        said = self._said.get(view.service)
        if said is None or said.epoch != view.epoch or said.policy != policy or overrides != self._overrides:
            return False
        self._mailboxes.post(view.service, said.directive)
        return True

    def direct(
        self,
        view: LinkView,
        report: ResidencyReport,
        *,
        state: DeviceState,
        decision: Decision,
        overrides: tuple[Override, ...],
        policy: Policy,
        now: Sample,
    ) -> None:
        """Issue the directive for what is wanted of a service, and hand it over unless it is a dry run."""
        wish = _wish(view, report, state, overrides)
        last = _unsaid(self._issued.get(view.service), view.service, decision)
        issued = issue(last, wish, epoch=view.epoch, refusal=view.refusal, now_seconds=now.seconds)
        issued = replace(issued, sent=not policy.dry_run)
        if last is None or _name(issued) != _name(last):
            reason = _why(view, last, issued, decision, overridden=self._overridden(view, overrides))
            issued = replace(issued, reason=reason)
            self._show(view, report, last, issued, now)
        self._issued[view.service] = issued
        directive = _directive(issued, policy) if issued.sent else None
        self._said[view.service] = _Said(epoch=view.epoch, policy=policy, directive=directive)
        self._mailboxes.post(view.service, directive)
        self._trim(view, state, decision, now, sent=issued.sent)

    def _trim(self, view: LinkView, state: DeviceState, decision: Decision, now: Sample, *, sent: bool) -> None:
        """Ask a service for what its allocator keeps, if that was decided just now; a request is never repeated."""
        known = state.services.get(view.service)
        if view.service not in decision.trim or known is None or known.trim is None:
            return
        asked = (view.epoch, known.trim.number)
        if self._asked.get(view.service) == asked:
            return
        self._asked[view.service] = asked
        if sent:
            self._mailboxes.trim(view.service, known.trim.number)
        self._decided.appendleft(
            Decided(
                unix_seconds=now.unix_seconds,
                service=view.service,
                version=0,
                reason=decision.reason,
                device=view.device.device,
                dry_run=not sent,
                trim=True,
            )
        )
        _log.info("trimmed" if sent else "would_trim", service=view.service, reason=decision.reason)

    def note_overrides(self, overrides: tuple[Override, ...]) -> None:
        """Note that all services have been directed under these overrides."""
        self._overrides = overrides

    def _overridden(self, view: LinkView, overrides: tuple[Override, ...]) -> str:
        """Say which overrides for the service have come or gone since the last directives; nothing for none."""
        came = [one for one in overrides if one.service == view.service and one not in self._overrides]
        named = {one.module for one in came}
        gone = [one for one in self._overrides if one.service == view.service and one not in overrides]
        words = [f"an operator's {one.kind.value} of {one.module}" for one in came]
        words += [
            f"the end of an operator's {one.kind.value} of {one.module}" for one in gone if one.module not in named
        ]
        more = [f"{len(words) - OVERRIDES_NAMED} more"] if len(words) > OVERRIDES_NAMED else []
        return ", ".join([*words[:OVERRIDES_NAMED], *more])

    def _show(self, view: LinkView, report: ResidencyReport, last: Issued | None, issued: Issued, now: Sample) -> None:
        before = Wish() if last is None or last.sent != issued.sent else last.wish
        evict, restore = moves(before, issued.wish, report.modules)
        to_disk, to_host = shifts(before, issued.wish, report.modules)
        decided = Decided(
            unix_seconds=now.unix_seconds,
            service=view.service,
            version=issued.version if issued.sent else 0,
            reason=issued.reason,
            evict=tuple(evict),
            restore=tuple(restore),
            device=view.device.device,
            dry_run=not issued.sent,
            to_disk=tuple(to_disk),
            to_host=tuple(to_host),
        )
        self._decided.appendleft(decided)
        self._recorder.directed(view.service, issued.version, issued.wish, sent=issued.sent, reason=issued.reason)
        _log.info(
            "directed" if issued.sent else "would_direct",
            service=view.service,
            version=issued.version,
            evict=evict,
            restore=restore,
            to_disk=to_disk,
            to_host=to_host,
            reason=issued.reason,
        )


def _wish(view: LinkView, report: ResidencyReport, state: DeviceState, overrides: tuple[Override, ...]) -> Wish:
    """Return what is wanted; orders that were given to an earlier instance of the service are not."""
    known = state.services.get(view.service)
    orders: Mapping[ModuleName, Order] = {}
    if known is not None and known.instance_id == view.instance_id:
        orders = known.orders
    own = {override.module: override for override in overrides if override.service == view.service}
    return compose(report.modules, orders, own, state.budgets.get(view.service))


def _unsaid(last: Issued | None, service: ServiceName, decision: Decision) -> Issued | None:
    """Return the last directive without what is ordered just now, so that it is said even where it was said before.

    A module that left and was called back between two reports was told so already, and done with it.
    """
    if last is None:
        return None
    ordered = {module for name, module in (*decision.evict, *decision.restore) if name == service}
    placements = tuple(each for each in last.wish.placements if each.module not in ordered)
    return replace(last, wish=replace(last.wish, placements=placements))


def _name(issued: Issued) -> tuple[int, int, bool]:
    return issued.epoch, issued.version, issued.sent


def _why(view: LinkView, last: Issued | None, issued: Issued, decision: Decision, *, overridden: str) -> str:
    if last is None or last.epoch != issued.epoch:
        return "began to govern"
    changed = (*decision.evict, *decision.restore, *decision.to_disk, *decision.to_host)
    if any(service == view.service for service, _ in changed):
        return decision.reason
    if overridden:
        return overridden
    if last.sent != issued.sent:
        return "the dry run ended" if issued.sent else "a dry run began"
    if last.wish.placements == issued.wish.placements:
        return "the directive before was refused" if last.wish == issued.wish else "budgets were divided anew"
    return decision.reason or "a module moved, and what is wanted follows"


def _directive(issued: Issued, policy: Policy) -> Directive:
    return Directive(
        version=issued.version,
        wish=issued.wish,
        valid_for_seconds=policy.valid_for_seconds,
        renewal_seconds=policy.renewal_seconds,
        reason=issued.reason,
    )
