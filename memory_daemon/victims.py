"""Which modules leave when bytes are wanted: the cheapest ones, in one batch, and no more than are needed.

Pure. Never one that is pinned, that an operator has spoken for, or whose service would fall below its floor. A claimed
module leaves only when memory is critical, and after all that are not.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from memory_daemon.modules import cost_per_byte, last_use_age_seconds, measured_bytes_per_second
from memory_daemon.orders import DeviceState, Observation, ServiceView
from memory_daemon.types import Authority, ModuleState, ModuleStatus, ServiceName


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A module that could leave, and the price of its absence; its service may lose `spare_bytes` in all."""

    service: ServiceName
    status: ModuleStatus
    cost: float
    idle_seconds: float
    spare_bytes: int


def candidates(
    state: DeviceState, seen: Observation, *, residence_seconds: float, critical: bool
) -> tuple[Victim, ...]:
    """Return the modules that may leave, cheapest first; below critical neither claims nor residence protect."""
    speed = restore_speed(seen)
    found = [
        _victim(state, view, status, seen, speed)
        for view in seen.services
        if not left_alone(state, view.service, seen.sample.seconds)
        for status in view.report.modules
        if _may_leave(state, seen, view, status)
        if critical or status.claims == 0
        for history in (state.services[view.service].modules[status.module],)
        if critical or history.been_for(residence_seconds, seen.sample.seconds)
    ]
    return tuple(sorted(found, key=_order))


def batch(victims: tuple[Victim, ...], need_bytes: int) -> tuple[Victim, ...]:
    """Return the cheapest that together give the bytes, or all if they do not; none that turns out needless."""
    chosen: list[Victim] = []
    spare = {victim.service: victim.spare_bytes for victim in victims}
    for victim in victims:
        size_bytes = victim.status.home_bytes
        if _sum(chosen) < need_bytes and size_bytes <= spare[victim.service]:
            spare[victim.service] -= size_bytes
            chosen.append(victim)
    for victim in reversed(tuple(chosen)):
        if _sum(chosen) - victim.status.home_bytes >= need_bytes:
            chosen.remove(victim)
    return tuple(chosen)


def restore_speed(seen: Observation) -> float | None:
    """Return how fast modules of all services come home to the device, in bytes a second; None if none has yet."""
    return measured_bytes_per_second(
        status for view in seen.services for status in view.report.modules if status.home == view.tier
    )


def left_alone(state: DeviceState, service: ServiceName, now_seconds: float) -> bool:
    """Tell whether a service refused a directive just now."""
    until_seconds = state.services[service].left_alone_until_seconds
    return until_seconds is not None and now_seconds < until_seconds


def _may_leave(state: DeviceState, seen: Observation, view: ServiceView, status: ModuleStatus) -> bool:
    order = state.services[view.service].orders.get(status.module)
    return (
        status.home == view.tier
        and status.at_home
        and status.state is ModuleState.RESTING
        and status.home_bytes > 0
        and not status.pinned
        and status.authority is not Authority.OPERATOR
        and (view.service, status.module) not in seen.overridden
        and (order is None or not order.leaves)
    )


def _victim(
    state: DeviceState,
    view: ServiceView,
    status: ModuleStatus,
    seen: Observation,
    bytes_per_second: float | None,
) -> Victim:
    history = state.services[view.service].modules[status.module]
    return Victim(
        service=view.service,
        status=status,
        cost=cost_per_byte(history, status, bytes_per_second),
        idle_seconds=last_use_age_seconds(status, seen.sample.unix_seconds),
        spare_bytes=_staying_bytes(state, view) - view.floor_bytes,
    )


def _staying_bytes(state: DeviceState, view: ServiceView) -> int:
    """Return what a service's modules hold, without those that have been asked to leave and will."""
    orders = state.services[view.service].orders
    leaving = {module for module, order in orders.items() if order.leaves}
    asked_bytes = sum(
        status.home_bytes
        for status in view.report.modules
        if status.module in leaving and status.at_home and status.home == view.tier
    )
    return held_bytes(view) - asked_bytes


def held_bytes(view: ServiceView) -> int:
    """Return what a service's modules hold on the device."""
    return sum(status.home_bytes for status in view.report.modules if status.at_home and status.home == view.tier)


def _order(victim: Victim) -> tuple[bool, float, float, str, str]:
    """Unclaimed before claimed, then cheap, then long unused; names make it the same every time."""
    return (
        victim.status.claims > 0,
        victim.cost,
        -victim.idle_seconds,
        victim.service,
        victim.status.module,
    )


def _sum(victims: Iterable[Victim]) -> int:
    return sum(victim.status.home_bytes for victim in victims)
