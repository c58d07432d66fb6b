"""Which modules leave when bytes are wanted: the batch that costs least, and no more than are needed.

Pure. Never one that is pinned, that an operator has spoken for, or whose service would fall below its floor. A claimed
module leaves only when memory is critical, and after all that are not. What requests have lately called back leaves
below `low` only after it was idle for a while (`regret`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from memory_daemon.modules import cost_per_byte, last_use_age_seconds, measured_bytes_per_second
from memory_daemon.orders import DeviceState, Observation, ServiceView
from memory_daemon.others import rising
from memory_daemon.regret import idle_seconds
from memory_daemon.types import Authority, ModuleState, ModuleStatus, ServiceName

WORTHWHILE_SHARE = 1 / 16
"""Where the need is not met, modules that together give less of it than this do not move for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A module that could leave, and the price of its absence; its service may lose `spare_bytes` in all."""

    service: ServiceName
    status: ModuleStatus
    cost: float
    idle_seconds: float
    spare_bytes: int

    @property
    def price(self) -> float:
        """What its absence costs as a whole."""
        return self.cost * self.status.home_bytes


def candidates(
    state: DeviceState, seen: Observation, *, residence_seconds: float, critical: bool
) -> tuple[Victim, ...]:
    """Return the modules that may leave, cheapest first; below critical neither claims nor residence protect.

    Both together do while others stand still: a claimed module that was just called back would be called back again,
    and nobody asks for its memory.
    """
    takes_all = critical and rising(state.others, seen.sample.seconds)
    speed = restore_speed(seen)
    least_idle_seconds = idle_seconds(state.regret, residence_seconds)
    found = [
        _victim(state, view, status, seen, speed)
        for view in seen.services
        if not left_alone(state, view.service, seen.sample.seconds)
        for status in view.report.modules
        if _may_leave(state, seen, view, status)
        if critical or status.claims == 0
        for history in (state.services[view.service].modules[status.module],)
        if takes_all or (critical and not status.claims) or history.been_for(residence_seconds, seen.sample.seconds)
        if critical or last_use_age_seconds(status, seen.sample.unix_seconds) >= least_idle_seconds
    ]
    return tuple(sorted(found, key=_order))


def batch(victims: tuple[Victim, ...], need_bytes: int, *, claimed_need_bytes: int | None = None) -> tuple[Victim, ...]:
    """Return the cheapest that together give the bytes, or all if they do not; none that turns out needless.

    Claimed ones come after all others, and only as far as `claimed_need_bytes` are needed (None for all).
    """
    idle = _cover([victim for victim in victims if not victim.status.claims], need_bytes, ())
    least_bytes = need_bytes if claimed_need_bytes is None else min(need_bytes, claimed_need_bytes)
    if _sum(idle) >= least_bytes:
        return idle
    claimed = _cover([victim for victim in victims if victim.status.claims], least_bytes, idle)
    return _needed(claimed, need_bytes)


def worthwhile(victims: tuple[Victim, ...], need_bytes: int) -> tuple[Victim, ...]:
    """Return a batch that is not enough without the small ones that give next to nothing even together.

    For where modules are called back (`regret`): what goes in vain once does no harm.
    """
    kept = list(victims)
    for victim in sorted(victims, key=lambda one: one.status.home_bytes):
        if _sum(victims) - _sum(kept) + victim.status.home_bytes < WORTHWHILE_SHARE * need_bytes:
            kept.remove(victim)
    return victims if _sum(victims) >= need_bytes else tuple(kept)


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
        # What is claimed is called back at once; how often it was before says nothing about it.
        cost=cost_per_byte(replace(history, returns=0) if status.claims else history, status, bytes_per_second),
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


def _cover(victims: Iterable[Victim], need_bytes: int, before: tuple[Victim, ...]) -> tuple[Victim, ...]:
    """Return those before and the cheapest of these that make up the need with them, or all.

    Cheapest by the byte is not cheapest as a whole, so everyone who can complete the cheaper ones before it is tried.
    """
    chosen, found = list(before), list[tuple[Victim, ...]]()
    for victim in victims:
        given_bytes = victim.status.home_bytes
        if _sum(chosen) >= need_bytes:
            break
        if _spent_bytes(chosen, victim.service) + given_bytes > victim.spare_bytes:
            continue
        if _sum(chosen) + given_bytes >= need_bytes:
            found.append(_needed((*chosen, victim), need_bytes, keep=before))
        else:
            chosen.append(victim)
    return min(found, key=_price, default=tuple(chosen))


def _needed(victims: tuple[Victim, ...], need_bytes: int, keep: tuple[Victim, ...] = ()) -> tuple[Victim, ...]:
    """Return the victims without those that turn out needless, the dearest first."""
    chosen = list(victims)
    for victim in reversed(victims):
        if victim not in keep and _sum(chosen) - victim.status.home_bytes >= need_bytes:
            chosen.remove(victim)
    return tuple(chosen)


def _price(victims: tuple[Victim, ...]) -> tuple[float, int, int]:
    """Return what a batch costs, how many move for it, and how much it gives: less of each is better."""
    return sum(victim.price for victim in victims), len(victims), _sum(victims)


def _spent_bytes(victims: Iterable[Victim], service: ServiceName) -> int:
    return _sum(victim for victim in victims if victim.service == service)


def _sum(victims: Iterable[Victim]) -> int:
    return sum(victim.status.home_bytes for victim in victims)
