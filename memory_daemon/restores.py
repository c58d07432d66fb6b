"""Which module comes home in the background: one at a time, and only if memory is above `high` even afterwards.

Pure. Modules that are pinned come first, then those whose absence costs most. Each of the others comes because it is
expected to be used: it was used lately, or it is used at this time of day. What is neither stays away until a request
calls it.
"""

from dataclasses import dataclass

from memory_daemon.foresight import rhythm_of
from memory_daemon.ledger import reserved_bytes
from memory_daemon.marks import Policy
from memory_daemon.modules import ModuleHistory, cost_per_byte, last_use_age_seconds
from memory_daemon.orders import DeviceState, Observation, ServiceView
from memory_daemon.predictions import Ground, Prediction
from memory_daemon.rhythm import expected, slot_ends_seconds
from memory_daemon.types import Authority, ModuleState, ModuleStatus, Sample, ServiceName, Tier
from memory_daemon.victims import left_alone, restore_speed


@dataclass(frozen=True, slots=True, kw_only=True)
class Homecomer:
    """A module that could come home, with the price of its absence; `ground` None for one that is pinned."""

    service: ServiceName
    status: ModuleStatus
    cost: float
    idle_seconds: float
    ground: Ground | None = None

    @property
    def ahead(self) -> bool:
        """Whether it comes ahead of a need that only the time of day tells of."""
        return self.ground is Ground.TIME_OF_DAY


def next_home(state: DeviceState, seen: Observation, *, room_bytes: int, policy: Policy) -> Homecomer | None:
    """Return the module to bring home first into that much room, None for none."""
    found = [
        _homecomer(state, view, status, seen, ground)
        for view in seen.services
        if not left_alone(state, view.service, seen.sample.seconds)
        for status in view.report.modules
        if _may_come(state, seen, view, status)
        for ground in (_ground(state, view, status, seen.sample, policy),)
        if status.pinned or ground is not None
        if status.home_bytes <= min(room_bytes, _budget_room_bytes(state, seen, view, room_bytes))
        if _history(state, view, status).been_for(policy.minimum_absence_seconds, seen.sample.seconds)
    ]
    return min(found, key=_order, default=None)


def awaits_room(state: DeviceState, seen: Observation, policy: Policy) -> bool:
    """Tell whether there is a module that could come home, now or when it has been away, or room there, for longer."""
    return any(
        status.pinned or _ground(state, view, status, seen.sample, policy) is not None
        for view in seen.services
        for status in view.report.modules
        if _may_come(state, seen, view, status)
    )


def prediction_of(found: Homecomer, sample: Sample, policy: Policy) -> Prediction | None:
    """Return what is predicted of a module that comes home; None for one that comes because it is pinned."""
    match found.ground:
        case None:
            return None
        case Ground.LATELY_USED:
            waits_seconds = policy.expected_again_seconds
        case Ground.TIME_OF_DAY:
            waits_seconds = slot_ends_seconds(sample.unix_seconds, policy.foresight_lead_seconds)
    return Prediction(
        service=found.service,
        module=found.status.module,
        ground=found.ground,
        uses=found.status.uses,
        until_unix_seconds=sample.unix_seconds + waits_seconds,
    )


def _may_come(state: DeviceState, seen: Observation, view: ServiceView, status: ModuleStatus) -> bool:
    order = state.services[view.service].orders.get(status.module)
    return (
        status.home == view.tier
        and (status.pinned or status.authority is not Authority.OPERATOR)
        and not status.at_home
        and status.state is ModuleState.RESTING
        and status.home_bytes > 0
        and (view.service, status.module) not in seen.overridden
        and (order is None or order.leaves)
        # What comes from disk takes host memory on its way.
        and not (state.host.short and status.tier is Tier.DISK and status.home is Tier.DEVICE)
    )


def _ground(
    state: DeviceState, view: ServiceView, status: ModuleStatus, sample: Sample, policy: Policy
) -> Ground | None:
    if status.pinned:
        return None
    if last_use_age_seconds(status, sample.unix_seconds) <= policy.expected_again_seconds:
        return Ground.LATELY_USED
    rhythm = rhythm_of(state.rhythms, view.service, status.module)
    is_expected = policy.foresight and expected(rhythm, sample.unix_seconds, policy.foresight_lead_seconds)
    return Ground.TIME_OF_DAY if is_expected else None


def _budget_room_bytes(state: DeviceState, seen: Observation, view: ServiceView, room_bytes: int) -> int:
    """Return what a service's budget leaves it; the one of a service that is alone follows what is called home."""
    if len(seen.services) == 1:
        return room_bytes
    budget_bytes = state.budgets.get(view.service)
    return room_bytes if budget_bytes is None else budget_bytes - reserved_bytes(view)


def _homecomer(
    state: DeviceState, view: ServiceView, status: ModuleStatus, seen: Observation, ground: Ground | None
) -> Homecomer:
    return Homecomer(
        service=view.service,
        status=status,
        # As a whole and not by the byte: where there is room for each, the longest wait ends first.
        cost=cost_per_byte(_history(state, view, status), status, restore_speed(seen)) * status.home_bytes,
        idle_seconds=last_use_age_seconds(status, seen.sample.unix_seconds),
        ground=ground,
    )


def _history(state: DeviceState, view: ServiceView, status: ModuleStatus) -> ModuleHistory:
    return state.services[view.service].modules[status.module]


def _order(homecomer: Homecomer) -> tuple[bool, float, float, str, str]:
    """Pinned first, then dear, then lately used; names make it the same every time."""
    return (
        not homecomer.status.pinned,
        -homecomer.cost,
        homecomer.idle_seconds,
        homecomer.service,
        homecomer.status.module,
    )
