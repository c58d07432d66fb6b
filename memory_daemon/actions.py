"""What can be done about memory: modules leave, a module comes home, or orders to leave are called off.

Pure. `choose` finds what is due and changes nothing; `perform` writes it into the state as orders.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from memory_daemon.decision import Decision, Named, Scene, give_back_words
from memory_daemon.masters import Shift, choose_shift, perform_shift, shift_order
from memory_daemon.orders import Check, DeviceState, Order, open_orders, open_trims, with_orders
from memory_daemon.others import rising
from memory_daemon.predictions import predicted
from memory_daemon.restores import Homecomer, next_home, prediction_of
from memory_daemon.room_trust import called_into, given_up, trusted_bytes
from memory_daemon.sizes import size_text
from memory_daemon.trims import Trim, next_number, trimmable_bytes
from memory_daemon.types import ModuleState, ModuleStatus, Pressure, ServiceName, Tier, Urgency
from memory_daemon.victims import Victim, batch, candidates, worthwhile

VERIFY_SECONDS = 2.0
"""Memory that has not come back by then will not come soon; Ollama saw 0.5 to 1.5 s for whole processes."""
SOON_SECONDS = 0.25
"""A restore that takes no longer is waited for: the largest module of all takes 0.05 s."""
RECOVERY_GRACES = 3.0
"""A recovery that is always about to come is not waited for longer than so many graces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """Modules that shall leave, orders that become urgent, and what services' allocators shall give back first."""

    victims: tuple[Victim, ...]
    hurried: Mapping[Named, Order]
    trims: Mapping[ServiceName, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BringHome:
    """A module that shall come home."""

    module: Homecomer


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOff:
    """Orders to leave that are not needed any more."""

    orders: Mapping[Named, Order]


Action = GiveBack | BringHome | CallOff | Shift


def choose(state: DeviceState, scene: Scene) -> Action | None:
    """Return what is to be done now; never anything on a reading that was acted on."""
    if scene.seen.frozen or (state.last is not None and scene.now_seconds <= state.last.seconds):
        return None
    return _choose_for_device(state, scene) or choose_shift(state, scene.seen, scene.policy)


def _choose_for_device(state: DeviceState, scene: Scene) -> GiveBack | BringHome | CallOff | None:
    match scene.pressure:
        case Pressure.CRITICAL:
            return _give_back(state, scene, critical=True)
        case Pressure.LOW:
            return _give_back(state, scene, critical=False) if low_is_due(state, scene) else None
        case Pressure.ROOM:
            return _call_off(state) or _bring_home(state, scene)
        case Pressure.STEADY | Pressure.UNKNOWN:
            return None
        case _:
            assert_never(scene.pressure)


def perform(state: DeviceState, scene: Scene, action: Action, decision: Decision) -> tuple[DeviceState, Decision]:
    """Return the state with the action's orders in it, and the decision with what they are and why."""
    match action:
        case GiveBack():
            return _perform_give_back(state, scene, action, decision)
        case BringHome(module=found):
            return _perform_bring_home(state, scene, found, decision)
        case CallOff(orders=orders):
            names = ", ".join(module for _, module in orders)
            reason = f"{scene.free_words()}: {names} need not leave any more"
            return with_orders(state, dict.fromkeys(orders)), replace(decision, reason=reason)
        case Shift():
            return _perform_shift(state, scene, action, decision)
        case _:
            assert_never(action)


def low_is_due(state: DeviceState, scene: Scene) -> bool:
    """Tell whether memory has been low for the grace, nothing is awaited, and it is not about to recover."""
    assert state.low_since_seconds is not None
    waited_seconds = scene.now_seconds - state.low_since_seconds
    return (
        _is_rested(state, scene)
        and waited_seconds >= scene.policy.grace_seconds
        and not _recovers(state, scene, waited_seconds)
    )


def _is_rested(state: DeviceState, scene: Scene) -> bool:
    resting = state.rest_until_seconds is not None and scene.now_seconds < state.rest_until_seconds
    return state.check is None and not resting


def _recovers(state: DeviceState, scene: Scene, waited_seconds: float) -> bool:
    """Tell whether free memory, rising as it does, will be back at `low` within a grace."""
    grace_seconds = scene.policy.grace_seconds
    if state.last is None or waited_seconds >= RECOVERY_GRACES * grace_seconds:
        return False
    elapsed_seconds = scene.now_seconds - state.last.seconds
    risen_bytes = scene.sample.free_bytes - state.last.free_bytes
    if elapsed_seconds <= 0 or risen_bytes <= 0:
        return False
    return scene.sample.free_bytes + risen_bytes / elapsed_seconds * grace_seconds >= scene.marks.low_bytes


def _give_back(state: DeviceState, scene: Scene, *, critical: bool) -> GiveBack | None:
    waiting = open_orders(state, leaves=True)
    hurried = {named: order for named, order in waiting.items() if critical and order.urgency is Urgency.WHEN_UNCLAIMED}
    coming_bytes = sum(
        order.size_bytes
        for named, order in waiting.items()
        if named in hurried or scene.now_seconds - order.since_seconds < VERIFY_SECONDS
    ) + sum(trim.expected_bytes for trim in open_trims(state).values())
    trims = _trims(state, scene, scene.need_bytes - coming_bytes)
    if trims and not critical:
        # What allocators keep costs next to nothing, and below low there is time to see how much of it comes.
        return GiveBack(victims=(), hurried={}, trims=trims)
    residence_seconds = scene.policy.minimum_residence_seconds
    found = candidates(state, scene.seen, residence_seconds=residence_seconds, critical=critical)
    need_bytes = scene.need_bytes - coming_bytes - sum(trims.values())
    if critical:
        victims = batch(found, need_bytes, claimed_need_bytes=_claimed_need_bytes(state, scene, need_bytes))
    else:
        victims = batch(found, need_bytes)
        if state.regret.count:
            victims = worthwhile(victims, need_bytes)
    return GiveBack(victims=victims, hurried=hurried, trims=trims) if victims or hurried or trims else None


def _claimed_need_bytes(state: DeviceState, scene: Scene, need_bytes: int) -> int:
    """Return what claimed modules have to give: all that is missing while others take more, else up to `critical`.

    While a module comes home for a request, those that it is used with are left to it: it would wait for them next.
    """
    if rising(state.others, scene.now_seconds):
        return need_bytes
    if any(_arrives_soon(status) for view in scene.seen.services for status in view.report.modules):
        return 0
    return need_bytes - (scene.marks.high_bytes - scene.marks.critical_bytes)


def _arrives_soon(status: ModuleStatus) -> bool:
    restore_seconds = status.restore_seconds
    return status.state is ModuleState.RESTORING and restore_seconds is not None and restore_seconds <= SOON_SECONDS


def _trims(state: DeviceState, scene: Scene, need_bytes: int) -> dict[ServiceName, int]:
    """Return the services to ask for what their allocators keep, the most first, and no more than are needed."""
    if not scene.policy.trim_cache:
        return {}
    minimum_bytes, now_seconds = scene.policy.trim_minimum_bytes, scene.now_seconds
    kept = {
        view.service: trimmable_bytes(
            view.report.usage, state.services[view.service].trim, minimum_bytes=minimum_bytes, now_seconds=now_seconds
        )
        for view in scene.seen.services
    }
    asked: dict[ServiceName, int] = {}
    for service, size_bytes in sorted(kept.items(), key=lambda each: (-each[1], each[0])):
        if size_bytes and sum(asked.values()) < need_bytes:
            asked[service] = size_bytes
    return asked


def _call_off(state: DeviceState) -> CallOff | None:
    waiting = open_orders(state, leaves=True)
    return CallOff(orders=waiting) if waiting and state.check is None else None


def _bring_home(state: DeviceState, scene: Scene) -> BringHome | None:
    if not scene.policy.background_restore or not _is_rested(state, scene) or open_orders(state, leaves=False):
        return None
    free_bytes = trusted_bytes(state.room, scene.policy.minimum_absence_seconds, scene.now_seconds)
    room_bytes = free_bytes - scene.marks.high_bytes
    found = next_home(state, scene.seen, room_bytes=room_bytes, policy=scene.policy)
    return None if found is None else BringHome(module=found)


def _perform_give_back(
    state: DeviceState, scene: Scene, action: GiveBack, decision: Decision
) -> tuple[DeviceState, Decision]:
    critical = scene.pressure is Pressure.CRITICAL
    urgency = Urgency.WHEN_UNLEASED if critical else Urgency.WHEN_UNCLAIMED
    hurried = {
        named: replace(order, urgency=urgency, since_seconds=scene.now_seconds)
        for named, order in action.hurried.items()
    }
    leaving = {(victim.service, victim.status.module): _order_away(victim, urgency, scene) for victim in action.victims}
    trimmed_bytes = sum(action.trims.values())
    asked = _with_trims(state, action.trims, scene.now_seconds)
    check = Check(
        since_seconds=scene.now_seconds,
        expected_bytes=trimmed_bytes + sum(order.size_bytes for order in (*hurried.values(), *leaving.values())),
        released_before={view.service: view.report.released_bytes for view in scene.seen.services},
        critical=critical,
        trims={name: trim.number for name, trim in open_trims(asked).items()},
        trimmed_bytes=trimmed_bytes,
    )
    calls_home = dict.fromkeys(open_orders(state, leaves=False))
    ordered = replace(with_orders(asked, calls_home | hurried | leaving), check=check)
    left = replace(ordered, room=given_up(state.room)) if hurried or leaving else ordered
    return left, replace(
        decision, reason=give_back_words(scene, check), evict=(*hurried, *leaving), trim=tuple(action.trims)
    )


def _with_trims(state: DeviceState, trims: Mapping[ServiceName, int], now_seconds: float) -> DeviceState:
    services = dict(state.services)
    for name, expected_bytes in trims.items():
        number = next_number(services[name].trim)
        trim = Trim(number=number, since_seconds=now_seconds, expected_bytes=expected_bytes)
        services[name] = replace(services[name], trim=trim)
    return replace(state, services=services)


def _perform_shift(state: DeviceState, scene: Scene, shift: Shift, decision: Decision) -> tuple[DeviceState, Decision]:
    orders = {
        (service, status.module): shift_order(status, shift.tier, scene.now_seconds)
        for service, status in shift.modules
    }
    host = perform_shift(state.host, shift, scene.policy, scene.now_seconds)
    shifted = replace(with_orders(state, orders), host=host)
    names = tuple(orders)
    if shift.tier is Tier.DISK:
        return shifted, replace(decision, reason=shift.reason, to_disk=names)
    return shifted, replace(decision, reason=shift.reason, to_host=names)


def _perform_bring_home(
    state: DeviceState, scene: Scene, found: Homecomer, decision: Decision
) -> tuple[DeviceState, Decision]:
    named = (found.service, found.status.module)
    rest_until_seconds = scene.now_seconds + scene.policy.cool_down_seconds
    called = replace(
        with_orders(state, {named: _order_home(found, scene)}),
        rest_until_seconds=rest_until_seconds,
        room=called_into(state.room, scene.now_seconds),
    )
    room = f"{scene.free_words()}: room for {found.status.module} ({size_text(found.status.home_bytes)})"
    reason = f"{room}, which is used at this time of day" if found.ahead else room
    prediction = prediction_of(found, scene.sample, scene.policy)
    if prediction is not None:
        called = replace(called, predictions=predicted(state.predictions, prediction))
    return called, replace(decision, reason=reason, restore=(named,))


def _order_away(victim: Victim, urgency: Urgency, scene: Scene) -> Order:
    return Order(
        tier=victim.status.away,
        leaves=True,
        since_seconds=scene.now_seconds,
        moves_before=victim.status.evictions,
        size_bytes=victim.status.home_bytes,
        urgency=urgency,
    )


def _order_home(found: Homecomer, scene: Scene) -> Order:
    return Order(
        tier=found.status.home,
        leaves=False,
        since_seconds=scene.now_seconds,
        moves_before=found.status.restores,
        size_bytes=found.status.home_bytes,
    )
