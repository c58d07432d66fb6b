"""Decide what should leave a device's memory and what should come home.

Pure: `decide(state, observation, policy)` returns the next state and the decision; the orders in the state are the
wish. The rules, in order:

1. Memory that cannot be read decides nothing. If it stays so for the life of a directive, or the device is lost, the
   policy wants nothing any more, and only operators' overrides remain.
2. Nothing is done twice on one reading, and nothing at all before a second reading has confirmed it.
3. Below `critical`, modules leave at once until `high` is free, claimed ones too; but while others stand still, of
   those only as many as `critical` needs, because requests call them back at once.
4. Below `low` for the grace time, and not about to recover, services are asked for what their allocators keep; if that
   does not do, modules leave in one batch, until `high` is free; those that were called back lately must have been idle
   for a while (`regret`). Below `critical` both are asked for at once.
5. What was asked is verified by the bytes that the services report released; then comes the rest (cool-down). Neither
   holds back rule 3.
6. At or above `high`, modules that have not left yet need not leave any more, and one module at a time comes home if
   `high` stays free afterwards. Room that did not last the last time must have lasted for longer.
7. Where nothing of this is due, and host memory beside a GPU is short, idle modules give up theirs (`masters`).
"""

import math
from dataclasses import replace
from typing import assert_never

from memory_daemon.actions import VERIFY_SECONDS, choose, low_is_due, perform
from memory_daemon.decision import Decision, Scene, refused_words, released_words, stuck_words
from memory_daemon.ledger import claim_of, divided, pool_bytes, reserved_bytes, squeezed_bytes
from memory_daemon.marks import Marks, Policy, pressure_of, resolve
from memory_daemon.masters import Shift, follow_host
from memory_daemon.orders import (
    Check,
    DeviceState,
    Observation,
    follow_services,
    forget_orders,
    open_orders,
    open_trims,
    refused_now,
    without_open_orders,
)
from memory_daemon.others import noted as others_noted
from memory_daemon.room_trust import noted as room_noted
from memory_daemon.sizes import size_text
from memory_daemon.types import Fault, MemorySample, Pressure, SampleFailed

VERIFIED_SHARE = 0.75
"""Enough of what was asked: sizes are measured, and pages are shared."""
BREATH_SHARE = 1 / 8
"""Of `critical`: others who take so little more are not taken to go on."""
PRESSED = frozenset({Pressure.LOW, Pressure.CRITICAL})
DITHER_SHARE = 0.4
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
"""Its multiples fall most evenly between whole numbers, and never on a short cycle."""
BLIND_SECONDS = {
    Fault.NO_DRIVER: (10.0, 60.0),
    Fault.DRIVER_MISMATCH: (30.0, 300.0),
    Fault.GPU_LOST: (60.0, 60.0),
    Fault.NO_PERMISSION: (5.0, 60.0),
    Fault.DEVICE_GONE: (1.0, 60.0),
    Fault.NO_ANSWER: (0.2, 1.0),
    Fault.OTHER: (1.0, 60.0),
}
"""After a failed reading the next one comes after the first of these, then after twice as long, up to the second.

A mismatch ends with a restart of the machine; a container gets its devices back within moments, or not at all.
"""


def decide(state: DeviceState, seen: Observation, policy: Policy) -> tuple[DeviceState, Decision]:
    """Take in one observation and decide; when the decision asks for another sample, the state is the one before."""
    followed = follow_services(state, seen)
    if seen.frozen:
        followed = without_open_orders(followed)
    if state.dry_run != policy.dry_run:
        followed = replace(forget_orders(followed), dry_run=policy.dry_run)
    match seen.sample:
        case SampleFailed() as failed:
            return _decide_blind(followed, failed, policy)
        case MemorySample() as sample:
            marks = resolve(policy, sample.total_bytes)
            pressure = pressure_of(sample, marks)
            scene = Scene(seen=seen, sample=sample, policy=policy, marks=marks, pressure=pressure)
            return _decide_seeing(state, _note_sample(followed, scene), scene)
        case _:
            assert_never(seen.sample)


def _decide_seeing(before: DeviceState, noted: DeviceState, scene: Scene) -> tuple[DeviceState, Decision]:
    checked, outcome = _verify(noted, scene)
    outcome = refused_words(refused_now(before, scene.seen)) or outcome
    outcome = "; ".join(
        words for words in (outcome, _overdraft_words(before, noted), _squeeze_words(before, noted)) if words
    )
    action = choose(checked, scene)
    decision = Decision(pressure=scene.pressure, marks=scene.marks, next_seconds=_due_seconds(checked, scene))
    if action is None:
        stuck = scene.pressure in PRESSED and (before.stuck or _is_stuck(checked, scene))
        words = outcome or (stuck_words(scene) if stuck and not before.stuck else "")
        return replace(checked, stuck=stuck, last=scene.sample), replace(decision, reason=words)
    if not scene.seen.confirmed:
        return before, replace(decision, resample=True)
    acted, acting = perform(checked, scene, action, decision)
    # What was ordered away just now must not come back into what it gives.
    acted = _with_budgets(acted, scene)
    settled = replace(acted, stuck=before.stuck and isinstance(action, Shift), last=scene.sample)
    reason = "; ".join(words for words in (outcome, acting.reason) if words)
    return settled, replace(acting, reason=reason, next_seconds=_due_seconds(settled, scene))


def _decide_blind(state: DeviceState, failed: SampleFailed, policy: Policy) -> tuple[DeviceState, Decision]:
    since_seconds = failed.seconds if state.blind_since_seconds is None else state.blind_since_seconds
    patience_seconds = since_seconds + policy.valid_for_seconds - failed.seconds
    gives_up = failed.lost or patience_seconds <= 0
    blind = replace(
        replace(forget_orders(state), budgets={}, overdraft_bytes=0, squeezed_bytes=0)
        if gives_up
        else replace(state, check=None),
        last=None,
        low_since_seconds=None,
        stuck=False,
        room=room_noted(state.room, None, failed.seconds),
        others=None,
        failures=state.failures + 1,
        blind_since_seconds=since_seconds,
    )
    back_off_seconds = _back_off_seconds(state.failures, Fault.GPU_LOST if failed.lost else failed.fault)
    return blind, Decision(
        pressure=Pressure.UNKNOWN,
        next_seconds=back_off_seconds if gives_up else min(back_off_seconds, patience_seconds),
        reason=_blind_words(state, failed, gives_up=gives_up),
    )


def _back_off_seconds(failures: int, fault: Fault) -> float:
    first_seconds, longest_seconds = BLIND_SECONDS[fault]
    doublings = min(failures, 10)
    return min(longest_seconds, first_seconds * 2.0**doublings)


def _blind_words(state: DeviceState, failed: SampleFailed, *, gives_up: bool) -> str:
    """Say it when it begins, and when the orders end for it."""
    ends = gives_up and any(service.orders for service in state.services.values())
    if state.failures and not ends:
        return ""
    return f"memory cannot be read: {failed.reason}" + ("; nothing is wanted any more" if ends else "")


def _note_sample(state: DeviceState, scene: Scene) -> DeviceState:
    low = scene.pressure in PRESSED
    since_seconds = scene.now_seconds if state.low_since_seconds is None else state.low_since_seconds
    return replace(
        _with_budgets(state, scene),
        low_since_seconds=since_seconds if low else None,
        room=room_noted(state.room, scene.sample.free_bytes, scene.now_seconds),
        others=others_noted(
            state.others,
            _others_bytes(scene),
            scene.now_seconds,
            breath_bytes=int(scene.marks.critical_bytes * BREATH_SHARE),
        ),
        host=follow_host(state.host, scene.seen.host, scene.policy, scene.now_seconds),
        failures=0,
        blind_since_seconds=None,
    )


def _others_bytes(scene: Scene) -> int:
    """Return what everybody else takes of the device."""
    return scene.sample.total_bytes - scene.sample.free_bytes - sum(map(reserved_bytes, scene.seen.services))


def _with_budgets(state: DeviceState, scene: Scene) -> DeviceState:
    if scene.seen.frozen:
        return state
    unix_seconds, again_seconds = scene.sample.unix_seconds, scene.policy.expected_again_seconds
    claims = tuple(
        claim_of(view, unix_seconds, again_seconds, state.services[view.service].orders) for view in scene.seen.services
    )
    pool = pool_bytes(claims, free_bytes=scene.sample.free_bytes, critical_bytes=scene.marks.critical_bytes)
    found = divided(state.budgets, claims, pool)
    squeezed = squeezed_bytes(claims, found.budgets)
    return replace(state, budgets=found.budgets, overdraft_bytes=found.overdraft_bytes, squeezed_bytes=squeezed)


def _verify(state: DeviceState, scene: Scene) -> tuple[DeviceState, str]:
    """End a check that is answered or has waited long enough; what follows moves that were not critical is rest."""
    check = state.check
    if check is None:
        return state, ""
    released_bytes = _released_bytes(check, scene.seen) + _trimmed_bytes(state, check)
    answered = not open_orders(state, leaves=True) and not open_trims(state)
    done = answered or released_bytes >= VERIFIED_SHARE * check.expected_bytes
    if not done and scene.now_seconds - check.since_seconds < VERIFY_SECONDS:
        return state, ""
    rest_until_seconds = scene.now_seconds + scene.policy.cool_down_seconds
    rests = check.moves_modules and not check.critical
    rested = replace(state, rest_until_seconds=rest_until_seconds) if rests else state
    return replace(rested, check=None), released_words(
        scene.seen,
        released_bytes=released_bytes,
        expected_bytes=check.expected_bytes,
        late_seconds=None if done else VERIFY_SECONDS,
    )


def _overdraft_words(before: DeviceState, noted: DeviceState) -> str:
    """Say it when the floors begin to promise more than there is."""
    begins = noted.overdraft_bytes > 0 and not before.overdraft_bytes
    return f"the floors of the services promise {size_text(noted.overdraft_bytes)} more than there is" if begins else ""


def _squeeze_words(before: DeviceState, noted: DeviceState) -> str:
    """Say it when services begin to use more together than there is for them."""
    if before.squeezed_bytes or not noted.squeezed_bytes:
        return ""
    return f"the services use {size_text(noted.squeezed_bytes)} more than there is for them, and bring it back in turns"


def _released_bytes(check: Check, seen: Observation) -> int:
    return sum(
        max(0, view.report.released_bytes - check.released_before[view.service])
        for view in seen.services
        if view.service in check.released_before
    )


def _trimmed_bytes(state: DeviceState, check: Check) -> int:
    """Return what services' allocators have given back, as they answered."""
    trims = {name: service.trim for name, service in state.services.items() if name in check.trims}
    return sum(
        trim.released_bytes for name, trim in trims.items() if trim is not None and trim.number == check.trims[name]
    )


def next_seconds(state: DeviceState, sample: MemorySample, marks: Marks, policy: Policy) -> float:
    """Return how long memory cannot reach `critical`, within bounds, and no longer than something is awaited."""
    headroom_bytes = sample.free_bytes - marks.critical_bytes
    longest_seconds = min(headroom_bytes / policy.worst_fill_bytes_per_second, policy.maximum_period_seconds)
    waits = [longest_seconds * _dither(sample.seconds)]
    if state.check is not None:
        waits.append(policy.minimum_period_seconds)
    if state.low_since_seconds is not None:
        due_seconds = max(state.low_since_seconds + policy.grace_seconds, state.rest_until_seconds or 0.0)
        if due_seconds > sample.seconds:
            waits.append(due_seconds - sample.seconds)
    return max(policy.minimum_period_seconds, min(waits))


def _due_seconds(state: DeviceState, scene: Scene) -> float:
    return next_seconds(state, scene.sample, scene.marks, scene.policy)


def _dither(now_seconds: float) -> float:
    """Return a share that differs every time, so that readings never keep step with a neighbour's own rhythm.

    Readings a second apart would see a neighbour who takes and gives back every second always at the same moment.
    """
    return 1 - DITHER_SHARE * (now_seconds * GOLDEN_RATIO % 1)


def _is_stuck(state: DeviceState, scene: Scene) -> bool:
    """Tell whether modules should leave now and none can."""
    if scene.pressure is Pressure.CRITICAL:
        return state.check is None
    return scene.pressure is Pressure.LOW and low_is_due(state, scene)
