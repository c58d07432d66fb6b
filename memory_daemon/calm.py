"""Tells when a tick has nothing to decide: nothing has changed since the last decision, and nothing is awaited.

Pure. An idle daemon ticks as often as a busy one, or it would be late, but the same numbers lead to the same decision.
So after a decision from which nothing follows and for which nothing is waited, a tick only takes its reading in, until
anything but the time differs. What comes with time alone is slow then: a use is forgotten, a time of day begins. A
decision is made for that every few seconds.
"""

from dataclasses import dataclass, replace

from memory_daemon.decision import Decision
from memory_daemon.marks import Policy
from memory_daemon.masters import follow_host
from memory_daemon.orders import DeviceState, HostState, Observation, ServiceView, open_orders, open_trims
from memory_daemon.policy import next_seconds
from memory_daemon.restores import awaits_room
from memory_daemon.room_trust import noted
from memory_daemon.types import MemorySample, Pressure, Tier, says_the_same

DECIDED_SECONDS = 5.0
"""So old a decision may be; what is due within less (grace, rest, checks, absences) is awaited, and is never calm."""
CALM_PRESSURES = frozenset({Pressure.ROOM, Pressure.STEADY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Calm:
    """What a decision was made from after which nothing is awaited."""

    seen: Observation
    policy: Policy


def calm_after(state: DeviceState, seen: Observation, policy: Policy, decision: Decision) -> Calm | None:
    """Return the calm after a decision, None where something follows from it or is awaited."""
    nothing_awaited = (
        isinstance(seen.sample, MemorySample)
        and decision.pressure in CALM_PRESSURES
        # Whatever is done has a reason.
        and not decision.reason
        and state.check is None
        and not (state.predictions.open or state.predictions.ended)
        and _host_is_calm(state.host)
        and not (open_orders(state, leaves=True) or open_orders(state, leaves=False) or open_trims(state))
        and all(_is_calm(state, view, seen) for view in seen.services)
        and not (decision.pressure is Pressure.ROOM and policy.background_restore and awaits_room(state, seen, policy))
    )
    return Calm(seen=seen, policy=policy) if nothing_awaited else None


def gone_on(
    calm: Calm, state: DeviceState, before: Decision, seen: Observation, policy: Policy
) -> tuple[DeviceState, Decision] | None:
    """Return the next state and what is decided, which is nothing new; None where it has to be decided."""
    sample = seen.sample
    if not (isinstance(sample, MemorySample) and before.marks is not None and _is_the_same(calm, seen, policy)):
        return None
    host = follow_host(state.host, seen.host, policy, sample.seconds)
    if not _host_is_calm(host):
        return None
    room = noted(state.room, sample.free_bytes, sample.seconds)
    after = replace(state, last=sample, room=room, host=host)
    due_seconds = next_seconds(after, sample, before.marks, policy)
    return after, replace(before, next_seconds=due_seconds)


def _host_is_calm(host: HostState) -> bool:
    return not host.short and host.since_seconds is None


def _is_calm(state: DeviceState, view: ServiceView, seen: Observation) -> bool:
    """Tell whether nothing is awaited of a service: nothing refused, and no weights on disk that host memory awaits."""
    until_seconds = state.services[view.service].left_alone_until_seconds
    left_alone = until_seconds is not None and seen.sample.seconds < until_seconds
    on_disk = any(each.home is Tier.DEVICE and each.tier is Tier.DISK for each in view.report.modules)
    return view.refusal is None and not left_alone and not on_disk


def _is_the_same(calm: Calm, seen: Observation, policy: Policy) -> bool:
    """Tell whether the same is seen as when it was decided; host memory is looked at by itself."""
    before, now = calm.seen.sample, seen.sample
    return (
        isinstance(before, MemorySample)
        and isinstance(now, MemorySample)
        and now.seconds - before.seconds < DECIDED_SECONDS
        and (now.free_bytes, now.total_bytes) == (before.free_bytes, before.total_bytes)
        and policy == calm.policy
        and (seen.overridden, seen.frozen) == (calm.seen.overridden, calm.seen.frozen)
        and (seen.host is None) == (calm.seen.host is None)
        and len(seen.services) == len(calm.seen.services)
        and all(map(_is_as_it_was, calm.seen.services, seen.services))
    )


def _is_as_it_was(before: ServiceView, now: ServiceView) -> bool:
    # All but the report, which tells the time; that of before makes the rest one comparison.
    return now is before or (says_the_same(before.report, now.report) and replace(now, report=before.report) == before)
