"""Which module comes home in the background: one at a time, and only if memory is above `high` even afterwards.

Pure. Modules that are pinned come first, then those whose absence costs most; what was not used lately, and is not
expected by the time of day, stays away until a request calls it.
"""

from dataclasses import dataclass

from memory_daemon.modules import ModuleHistory, cost_per_byte, last_use_age_seconds
from memory_daemon.orders import DeviceState, Observation, ServiceView
from memory_daemon.rhythm import expected
from memory_daemon.types import Authority, ModuleState, ModuleStatus, ServiceName
from memory_daemon.victims import held_bytes, left_alone

RECENT_SECONDS = 600.0
"""A module that was used within this time is expected to be used again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Homecomer:
    """A module that could come home, with the price of its absence; `ahead` of need if it was not used lately."""

    service: ServiceName
    status: ModuleStatus
    cost: float
    idle_seconds: float
    ahead: bool = False


def next_home(state: DeviceState, seen: Observation, *, room_bytes: int, absence_seconds: float) -> Homecomer | None:
    """Return the module to bring home first into that much room, None for none."""
    found = [
        _homecomer(state, view, status, seen)
        for view in seen.services
        if not left_alone(state, view.service, seen.sample.seconds)
        for status in view.report.modules
        if _may_come(state, seen, view, status)
        if status.home_bytes <= min(room_bytes, _budget_room_bytes(state, view, room_bytes))
        if _history(state, view, status).been_for(absence_seconds, seen.sample.seconds)
    ]
    return min(found, key=_order, default=None)


def _may_come(state: DeviceState, seen: Observation, view: ServiceView, status: ModuleStatus) -> bool:
    likely = _is_recent(status, seen) or expected(_history(state, view, status).rhythm, seen.sample.unix_seconds)
    wanted = status.pinned or (likely and status.authority is not Authority.OPERATOR)
    order = state.services[view.service].orders.get(status.module)
    return (
        wanted
        and status.home == view.tier
        and not status.at_home
        and status.state is ModuleState.RESTING
        and status.home_bytes > 0
        and (view.service, status.module) not in seen.overridden
        and (order is None or order.leaves)
    )


def _budget_room_bytes(state: DeviceState, view: ServiceView, room_bytes: int) -> int:
    budget_bytes = state.budgets.get(view.service)
    return room_bytes if budget_bytes is None else budget_bytes - held_bytes(view)


def _homecomer(state: DeviceState, view: ServiceView, status: ModuleStatus, seen: Observation) -> Homecomer:
    return Homecomer(
        service=view.service,
        status=status,
        cost=cost_per_byte(_history(state, view, status), status),
        idle_seconds=last_use_age_seconds(status, seen.sample.unix_seconds),
        ahead=not status.pinned and not _is_recent(status, seen),
    )


def _history(state: DeviceState, view: ServiceView, status: ModuleStatus) -> ModuleHistory:
    return state.services[view.service].modules[status.module]


def _is_recent(status: ModuleStatus, seen: Observation) -> bool:
    return last_use_age_seconds(status, seen.sample.unix_seconds) <= RECENT_SECONDS


def _order(homecomer: Homecomer) -> tuple[bool, float, float, str, str]:
    """Pinned first, then dear, then lately used; names make it the same every time."""
    return (
        not homecomer.status.pinned,
        -homecomer.cost,
        homecomer.idle_seconds,
        homecomer.service,
        homecomer.status.module,
    )
