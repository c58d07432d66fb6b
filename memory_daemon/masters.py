"""What idle modules keep of host memory on a machine with a GPU: it goes to disk while host memory is short.

Pure. A module that is away from its device leaves its weights in locked host memory, which the operating system cannot
take. Host memory is short when little is free, or when processes wait for it, for the grace; then idle modules give up
theirs, the cheapest first: as many as are missing, or one at a time where only the waiting tells. When it has eased,
they come back one by one into room that is trusted as the device's is (`room_trust`). A module on its device keeps its
host memory, because its service cannot do without; and a request brings back what it needs, from disk as well.
"""

from dataclasses import dataclass, field, replace

from memory_daemon.marks import Policy
from memory_daemon.modules import cost_per_byte, last_use_age_seconds
from memory_daemon.orders import DeviceState, HostState, Observation, Order, ServiceView
from memory_daemon.room_trust import called_into, given_up, noted, trusted_bytes
from memory_daemon.sizes import size_text
from memory_daemon.types import Authority, ModuleState, ModuleStatus, ServiceName, Tier
from memory_daemon.usage import HostReading
from memory_daemon.victims import left_alone

EASED_SHARE = 0.5
"""Waiting has ended when it is below this share of what is too much: averages of ten seconds sink slowly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """Modules that go from host memory to disk, or (one) back, and why."""

    tier: Tier
    modules: tuple[tuple[ServiceName, ModuleStatus], ...]
    reason: str = field(default="")


def follow_host(state: HostState, reading: HostReading | None, policy: Policy, now_seconds: float) -> HostState:
    """Return the state after one more reading; none says nothing, and nothing follows from it."""
    if reading is None or not policy.relieve_host:
        return replace(state, since_seconds=None, short=state.short and policy.relieve_host)
    looks_short, has_eased = _waits(reading, policy, 1.0) or _is_low(reading, policy), _has_eased(reading, policy)
    since_seconds = (now_seconds if state.since_seconds is None else state.since_seconds) if looks_short else None
    lasting = since_seconds is not None and now_seconds - since_seconds >= policy.grace_seconds
    return replace(
        state,
        since_seconds=since_seconds,
        short=lasting or (state.short and not has_eased),
        room=noted(state.room, reading.free_bytes if has_eased else None, now_seconds),
    )


def choose_shift(state: DeviceState, seen: Observation, policy: Policy) -> Shift | None:
    """Return the modules that go to disk now, or the one that comes back; None for none, and without a reading."""
    now_seconds, host = seen.sample.seconds, state.host
    resting = host.rest_until_seconds is not None and now_seconds < host.rest_until_seconds
    if seen.host is None or not policy.relieve_host or resting:
        return None
    if host.short:
        return _to_disk(state, seen, seen.host, policy)
    free_bytes = trusted_bytes(host.room, policy.minimum_absence_seconds, now_seconds)
    room_bytes = free_bytes - policy.host_high.at(seen.host.total_bytes)
    return _to_host(state, seen, room_bytes) if policy.background_restore else None


def perform_shift(host: HostState, shift: Shift, policy: Policy, now_seconds: float) -> HostState:
    """Return the state after a shift was ordered: what follows one is rest."""
    room = given_up(host.room) if shift.tier is Tier.DISK else called_into(host.room, now_seconds)
    return replace(host, room=room, rest_until_seconds=now_seconds + policy.cool_down_seconds)


def shift_order(status: ModuleStatus, tier: Tier, now_seconds: float) -> Order:
    """Return the order to be away from home in that tier; its module is away already."""
    return Order(
        tier=tier,
        leaves=True,
        since_seconds=now_seconds,
        moves_before=status.evictions,
        size_bytes=status.home_bytes,
        obeyed=True,
    )


def _to_disk(state: DeviceState, seen: Observation, reading: HostReading, policy: Policy) -> Shift | None:
    found = [
        (view.service, status)
        for view in seen.services
        for status in view.report.modules
        if _may_shift(state, seen, view, status, Tier.DISK)
        if status.tier is Tier.HOST and not status.claims and host_bytes(status) > 0
    ]
    found.sort(key=lambda each: _price(state, seen, *each))
    need_bytes = policy.host_high.at(reading.total_bytes) - reading.free_bytes
    chosen: list[tuple[ServiceName, ModuleStatus]] = []
    for each in found:
        if not chosen or sum(host_bytes(status) for _, status in chosen) < need_bytes:
            chosen.append(each)
    names = ", ".join(status.module for _, status in chosen)
    reason = f"{_short_words(reading, policy)}: {names} to disk"
    return Shift(tier=Tier.DISK, modules=tuple(chosen), reason=reason) if chosen else None


def _to_host(state: DeviceState, seen: Observation, room_bytes: int) -> Shift | None:
    found = [
        (view.service, status)
        for view in seen.services
        for status in view.report.modules
        if _may_shift(state, seen, view, status, Tier.HOST)
        if status.tier is Tier.DISK and _rests_nearer(status) and status.home_bytes <= room_bytes
    ]
    if not found:
        return None
    service, status = max(found, key=lambda each: _price(state, seen, *each))
    reason = f"{size_text(room_bytes)} of host memory to spare: {status.module} back from disk"
    return Shift(tier=Tier.HOST, modules=((service, status),), reason=reason)


def host_bytes(status: ModuleStatus) -> int:
    """Return what a module holds of host memory."""
    return sum(held.size_bytes for held in status.held if held.tier is Tier.HOST)


def _may_shift(state: DeviceState, seen: Observation, view: ServiceView, status: ModuleStatus, tier: Tier) -> bool:
    """Tell whether a module may be ordered to that tier: nobody else has a word in it, and it was not ordered yet."""
    order = state.services[view.service].orders.get(status.module)
    return (
        (order is None or (order.leaves and order.tier is not tier))
        and status.home is Tier.DEVICE
        and status.state is ModuleState.RESTING
        and not status.pinned
        and status.authority is not Authority.OPERATOR
        and (view.service, status.module) not in seen.overridden
        and not left_alone(state, view.service, seen.sample.seconds)
    )


def _rests_nearer(status: ModuleStatus) -> bool:
    """Tell whether its service would have it nearer than on disk; whoever sent it there, this daemon or one before."""
    return status.rest is not None and status.rest is not Tier.DISK


def _price(
    state: DeviceState, seen: Observation, service: ServiceName, status: ModuleStatus
) -> tuple[float, float, str, str]:
    history = state.services[service].modules[status.module]
    idle_seconds = last_use_age_seconds(status, seen.sample.unix_seconds)
    return cost_per_byte(history, status), -idle_seconds, service, status.module


def _is_low(reading: HostReading, policy: Policy) -> bool:
    return reading.free_bytes < policy.host_low.at(reading.total_bytes)


def _has_eased(reading: HostReading, policy: Policy) -> bool:
    high_bytes = max(policy.host_low.at(reading.total_bytes), policy.host_high.at(reading.total_bytes))
    return reading.free_bytes >= high_bytes and not _waits(reading, policy, EASED_SHARE)


def _waits(reading: HostReading, policy: Policy, share: float) -> bool:
    some_percent, full_percent = reading.some_percent or 0.0, reading.full_percent or 0.0
    return some_percent >= share * policy.host_some_percent or full_percent >= share * policy.host_full_percent


def _short_words(reading: HostReading, policy: Policy) -> str:
    free = f"{size_text(reading.free_bytes)} of host memory free"
    if _is_low(reading, policy):
        return f"{free}, below host_low ({size_text(policy.host_low.at(reading.total_bytes))})"
    return f"{free}, waited for {reading.some_percent or 0:g} % of the time, by all {reading.full_percent or 0:g} %"
