"""What can be done about memory: modules leave, a module comes home, or orders to leave are called off.

Pure. `choose` finds what is due and changes nothing; `perform` writes it into the state as orders.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from memory_daemon.decision import Decision, Named, Scene, give_back_words
from memory_daemon.orders import Check, DeviceState, Order, open_orders, with_orders
from memory_daemon.predictions import Prediction, predicted
from memory_daemon.restores import Homecomer, next_home
from memory_daemon.rhythm import slot_ends_seconds
from memory_daemon.types import Pressure, Urgency, size_text
from memory_daemon.victims import Victim, batch, candidates

VERIFY_SECONDS = 2.0
"""Memory that has not come back by then will not come soon; Ollama saw 0.5 to 1.5 s for whole processes."""
RECOVERY_GRACES = 3.0
"""A recovery that is always about to come is not waited for longer than so many graces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """Modules that shall leave, and orders that become urgent."""

    victims: tuple[Victim, ...]
    hurried: Mapping[Named, Order]


@dataclass(frozen=True, slots=True, kw_only=True)
class BringHome:
    """A module that shall come home."""

    module: Homecomer


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOff:
    """Orders to leave that are not needed any more."""

    orders: Mapping[Named, Order]


Action = GiveBack | BringHome | CallOff


def choose(state: DeviceState, scene: Scene) -> Action | None:
    """Return what is to be done now; never anything on a reading that was acted on."""
    if state.last is not None and scene.now_seconds <= state.last.seconds:
        return None
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
    )
    residence_seconds = scene.policy.minimum_residence_seconds
    found = candidates(state, scene.seen, residence_seconds=residence_seconds, critical=critical)
    victims = batch(found, scene.need_bytes - coming_bytes)
    return GiveBack(victims=victims, hurried=hurried) if victims or hurried else None


def _call_off(state: DeviceState) -> CallOff | None:
    waiting = open_orders(state, leaves=True)
    return CallOff(orders=waiting) if waiting and state.check is None else None


def _bring_home(state: DeviceState, scene: Scene) -> BringHome | None:
    if not scene.policy.background_restore or not _is_rested(state, scene) or open_orders(state, leaves=False):
        return None
    found = next_home(
        state,
        scene.seen,
        room_bytes=-scene.need_bytes,
        absence_seconds=scene.policy.minimum_absence_seconds,
    )
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
    check = Check(
        since_seconds=scene.now_seconds,
        expected_bytes=sum(order.size_bytes for order in (*hurried.values(), *leaving.values())),
        released_before={view.service: view.report.released_bytes for view in scene.seen.services},
        critical=critical,
    )
    calls_home = dict.fromkeys(open_orders(state, leaves=False))
    ordered = replace(with_orders(state, calls_home | hurried | leaving), check=check)
    return ordered, replace(decision, reason=give_back_words(scene, check), evict=(*hurried, *leaving))


def _perform_bring_home(
    state: DeviceState, scene: Scene, found: Homecomer, decision: Decision
) -> tuple[DeviceState, Decision]:
    named = (found.service, found.status.module)
    rest_until_seconds = scene.now_seconds + scene.policy.cool_down_seconds
    called = replace(with_orders(state, {named: _order_home(found, scene)}), rest_until_seconds=rest_until_seconds)
    room = f"{scene.free_words()}: room for {found.status.module} ({size_text(found.status.home_bytes)})"
    reason = f"{room}, which is used at this time of day" if found.ahead else room
    if found.ahead:
        called = replace(called, predictions=predicted(state.predictions, _prediction(found, scene)))
    return called, replace(decision, reason=reason, restore=(named,))


def _prediction(found: Homecomer, scene: Scene) -> Prediction:
    return Prediction(
        service=found.service,
        module=found.status.module,
        uses=found.status.uses,
        until_seconds=scene.now_seconds + slot_ends_seconds(scene.sample.unix_seconds),
    )


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
