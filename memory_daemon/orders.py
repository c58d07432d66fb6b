"""What the policy remembers of one device: the orders in force, and what became of them.

Pure. An order is the policy's wish for one module and stays in force until the policy changes it. Whether it was obeyed
is read from the reports:

* A module that was sent away and is home again, or on its way, or was between two reports and left once more, was
  called by a request: the order has done its work and ends, or every next step would bring it home and lose it again.
  After its minimum residence it may be asked away again.
* A module that was called home and left again did so for its service's own reasons: that order ends too.
* A refused directive ends the orders that were not obeyed yet; the service is left alone for a while.
* A service that is gone, or has restarted, is forgotten with its orders and its reservations.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from memory_daemon.foresight import Rhythms, followed
from memory_daemon.modules import ModuleHistory, begin, follow
from memory_daemon.others import Others
from memory_daemon.predictions import Predictions, judged
from memory_daemon.regret import Regret, regretted
from memory_daemon.room_trust import Room
from memory_daemon.trims import Trim
from memory_daemon.trims import followed as followed_trim
from memory_daemon.types import (
    MemorySample,
    ModuleName,
    ModuleState,
    ModuleStatus,
    Refusal,
    ResidencyReport,
    Sample,
    ServiceName,
    Tier,
    Urgency,
)
from memory_daemon.usage import HostReading, TrimAnswer

REFUSED_REST_SECONDS = 10.0
"""Rest after a refused directive: as long as the directive before it lives by default."""
RESTORE_PATIENCE_SECONDS = 10.0
"""A module that was called home and has not come by then is not waited for: others may be called instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The policy's wish for one module; `moves_before` is its service's count of such moves when it was given."""

    tier: Tier
    leaves: bool
    since_seconds: float
    moves_before: int
    size_bytes: int
    urgency: Urgency = Urgency.WHEN_UNCLAIMED
    obeyed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A give-back that is being verified: what was asked, and what each service had released before.

    `trims` are the requests for what allocators keep, by their numbers; of the whole they are `trimmed_bytes`.
    """

    since_seconds: float
    expected_bytes: int
    released_before: Mapping[ServiceName, int]
    critical: bool
    trims: Mapping[ServiceName, int] = field(default_factory=dict)
    trimmed_bytes: int = 0

    @property
    def moves_modules(self) -> bool:
        """Whether modules were asked away, and not only what allocators keep."""
        return self.expected_bytes > self.trimmed_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """What a decision sees of a service; `tier` is its device's, `refusal` its newest nack, `trimmed` its last trim."""

    service: ServiceName
    instance_id: str
    tier: Tier
    report: ResidencyReport
    floor_bytes: int = 0
    refusal: Refusal | None = None
    trimmed: TrimAnswer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """All that a decision sees. `overridden` modules are the operator's; `confirmed` means sampled again to act.

    `frozen`: an operator wants nothing to move, so nothing new is ordered. `host` is host memory beside a GPU, None
    where it is not read.
    """

    sample: Sample
    services: tuple[ServiceView, ...] = ()
    overridden: frozenset[tuple[ServiceName, ModuleName]] = frozenset()
    confirmed: bool = False
    frozen: bool = False
    host: HostReading | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """One service over time."""

    instance_id: str
    modules: Mapping[ModuleName, ModuleHistory] = field(default_factory=dict)
    orders: Mapping[ModuleName, Order] = field(default_factory=dict)
    refused_version: int = 0
    left_alone_until_seconds: float | None = None
    trim: Trim | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """Host memory beside a GPU over time; `since_seconds` is since when it has looked short."""

    since_seconds: float | None = None
    short: bool = False
    rest_until_seconds: float | None = None
    room: Room = field(default_factory=Room)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """One device over time. `last` is the reading of the tick before; None where nothing runs or is known."""

    services: Mapping[ServiceName, ServiceState] = field(default_factory=dict)
    budgets: Mapping[ServiceName, int] = field(default_factory=dict)
    last: MemorySample | None = None
    low_since_seconds: float | None = None
    rest_until_seconds: float | None = None
    check: Check | None = None
    stuck: bool = False
    failures: int = 0
    blind_since_seconds: float | None = None
    dry_run: bool = False
    predictions: Predictions = field(default_factory=Predictions)
    rhythms: Rhythms = field(default_factory=dict)
    overdraft_bytes: int = 0
    squeezed_bytes: int = 0
    room: Room = field(default_factory=Room)
    host: HostState = field(default_factory=HostState)
    others: Others | None = None
    regret: Regret = field(default_factory=Regret)


def follow_services(state: DeviceState, seen: Observation) -> DeviceState:
    """Return the state with the newest reports taken in; services that are gone are forgotten."""
    services = {view.service: _follow_service(state.services.get(view.service), view, seen) for view in seen.services}
    histories = {
        (name, module): history for name, service in services.items() for module, history in service.modules.items()
    }
    reports = [(view.service, view.report.modules) for view in seen.services]
    return replace(
        state,
        services=services,
        predictions=judged(state.predictions, histories, seen.sample.unix_seconds),
        rhythms=followed(state.rhythms, reports, seen.sample.unix_seconds),
        check=None if refused_now(state, seen) else state.check,
        regret=regretted(state.regret, _absences_seconds(state, seen), seen.sample.seconds),
    )


def refused_now(state: DeviceState, seen: Observation) -> tuple[ServiceView, ...]:
    """Return the services that have refused a directive since the state; what was asked of them is not awaited."""
    return tuple(
        view
        for view in seen.services
        for known in (state.services.get(view.service),)
        if known is not None and known.instance_id == view.instance_id
        if _version(view.refusal) > known.refused_version
    )


def _absences_seconds(state: DeviceState, seen: Observation) -> tuple[float, ...]:
    """Return how long modules were asked away that a request has called back now."""
    return tuple(
        seen.sample.seconds - order.since_seconds
        for view in seen.services
        for known in (state.services.get(view.service),)
        if known is not None and known.instance_id == view.instance_id
        for status in view.report.modules
        for order in (known.orders.get(status.module),)
        if order is not None and order.leaves and _follow_order(order, status) is None
    )


def forget_orders(state: DeviceState) -> DeviceState:
    """Return the state in which nothing is wanted, and nothing is awaited."""
    services = {name: replace(service, orders={}) for name, service in state.services.items()}
    return replace(state, services=services, check=None)


def without_open_orders(state: DeviceState) -> DeviceState:
    """Return the state in which what is not obeyed yet is called off; what has moved stays where it is wanted."""
    waiting = {**open_orders(state, leaves=True), **open_orders(state, leaves=False)}
    return replace(with_orders(state, dict.fromkeys(waiting)), check=None)


def with_orders(state: DeviceState, changes: Mapping[tuple[ServiceName, ModuleName], Order | None]) -> DeviceState:
    """Return the state with orders given and (None) ended."""
    services = dict(state.services)
    for (service, module), order in changes.items():
        orders = {name: known for name, known in services[service].orders.items() if name != module}
        services[service] = replace(services[service], orders=orders | ({} if order is None else {module: order}))
    return replace(state, services=services)


def open_orders(state: DeviceState, *, leaves: bool) -> dict[tuple[ServiceName, ModuleName], Order]:
    """Return the orders to leave, or to come home, that are not obeyed yet."""
    return {
        (name, module): order
        for name, service in state.services.items()
        for module, order in service.orders.items()
        if order.leaves == leaves and not order.obeyed
    }


def open_trims(state: DeviceState) -> dict[ServiceName, Trim]:
    """Return the requests for what allocators keep that are not answered yet."""
    trims = {name: service.trim for name, service in state.services.items()}
    return {name: trim for name, trim in trims.items() if trim is not None and trim.is_open}


def _follow_service(known: ServiceState | None, view: ServiceView, seen: Observation) -> ServiceState:
    now_seconds = seen.sample.seconds
    if known is None or known.instance_id != view.instance_id:
        known = ServiceState(instance_id=view.instance_id, refused_version=_version(view.refusal))
    statuses = {status.module: status for status in view.report.modules}
    followed = replace(
        known,
        modules={name: _follow_module(known, status, seen) for name, status in statuses.items()},
        orders=_follow_orders(known.orders, statuses),
        trim=followed_trim(known.trim, view.trimmed, view.report.usage, now_seconds),
    )
    return _take_refusal(_lose_patience(followed, now_seconds), view.refusal, now_seconds)


def _follow_module(known: ServiceState, status: ModuleStatus, seen: Observation) -> ModuleHistory:
    history = known.modules.get(status.module)
    if history is None:
        return begin(status, now_seconds=seen.sample.seconds, unix_seconds=seen.sample.unix_seconds)
    return follow(history, status, now_seconds=seen.sample.seconds)


def _follow_orders(
    orders: Mapping[ModuleName, Order], statuses: Mapping[ModuleName, ModuleStatus]
) -> dict[ModuleName, Order]:
    followed = {name: _follow_order(order, statuses[name]) for name, order in orders.items() if name in statuses}
    return {name: order for name, order in followed.items() if order is not None}


def _follow_order(order: Order, status: ModuleStatus) -> Order | None:
    moves = (status.evictions if order.leaves else status.restores) - order.moves_before
    fits = status.at_home != order.leaves
    obeyed = order.obeyed or fits or moves > 0
    # On its way home for a request, and not from disk to its place.
    comes_home = obeyed and status.state is ModuleState.RESTORING and status.tier <= order.tier
    recalled = order.leaves and (moves > 1 or comes_home)
    return None if (obeyed and not fits) or recalled else replace(order, obeyed=obeyed)


def _lose_patience(state: ServiceState, now_seconds: float) -> ServiceState:
    """End calls home that nobody answered; the module's absence counts anew, so that it is not called at once."""
    late = {
        name
        for name, order in state.orders.items()
        if not order.leaves and not order.obeyed and now_seconds - order.since_seconds >= RESTORE_PATIENCE_SECONDS
    }
    if not late:
        return state
    return replace(
        state,
        orders={name: order for name, order in state.orders.items() if name not in late},
        modules={
            name: replace(history, since_seconds=now_seconds) if name in late else history
            for name, history in state.modules.items()
        },
    )


def _take_refusal(state: ServiceState, refusal: Refusal | None, now_seconds: float) -> ServiceState:
    if refusal is None or refusal.version <= state.refused_version:
        return state
    return replace(
        state,
        orders={name: order for name, order in state.orders.items() if order.obeyed},
        refused_version=refusal.version,
        left_alone_until_seconds=now_seconds + REFUSED_REST_SECONDS,
    )


def _version(refusal: Refusal | None) -> int:
    return 0 if refusal is None else refusal.version
