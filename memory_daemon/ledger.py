"""Who may hold how much of one device: budgets are reservations, and their sum stays below what is there.

Pure. What nobody governs is simply demand: capacity less demand is what is free and what governed services hold. Of
that, `critical` is kept free, and a little is not handed out, so that a slow leak does not change every budget with
every reading. The rest is handed out in this order, each step shared fairly:

1. Floors: one utterance must fit. Where none is configured, the largest step of speech must, as the service reports
   it, and its largest module: a step that does not fit into its service's budget fails for good.
2. What each service uses now: an idle neighbour never costs a busy service a module.
3. What its modules weigh together.
4. What is left over, in equal parts.

Floors are promises: where they alone are too much, they are handed out all the same and the overdraft is told. A
reservation is an upper bound: it says what a service may bring back on its own, not what it holds. Which modules leave
when memory is short is decided across services by what their absence costs (`victims`).

A service that is alone shares with nobody, but its requests would still bring back what has just been sent away for a
neighbour, into the very memory that the neighbour takes next. So it gets a budget for as long as not all that it has
would leave `critical` free (`alone`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from memory_daemon.modules import last_use_age_seconds
from memory_daemon.orders import Order, ServiceView
from memory_daemon.types import ModuleName, ModuleState, ModuleStatus, ServiceName, Urgency

KEEP_SHARE = 1 / 8
"""A budget that would change by less than this share is left as it is, so that noise sends no directives."""
SLACK_SHARE = 1 / 16
"""So much of the pool is not handed out: it may shrink by that before budgets have to be divided anew."""

NO_ORDERS: Mapping[ModuleName, Order] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one service needs of a device: `floor_bytes` for one utterance, what it holds, uses now, and weighs.

    `staying_bytes`: what it holds or was called home, but for what was ordered away in a hurry.
    """

    service: ServiceName
    floor_bytes: int
    held_bytes: int
    whole_bytes: int
    used_bytes: int = 0
    staying_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservations:
    """Budgets by service; `overdraft_bytes` is what the floors promise beyond what is there."""

    budgets: Mapping[ServiceName, int]
    overdraft_bytes: int = 0


def claim_of(
    view: ServiceView,
    now_unix_seconds: float,
    expected_again_seconds: float,
    orders: Mapping[ModuleName, Order] = NO_ORDERS,
) -> Claim:
    """Return what a service needs, as its report tells; a module is in use while it is expected to be used again."""
    modules = [status for status in view.report.modules if status.home == view.tier]
    used = [
        status
        for status in modules
        if status.pinned
        or status.claims
        or status.leases
        or last_use_age_seconds(status, now_unix_seconds) <= expected_again_seconds
    ]
    return Claim(
        service=view.service,
        floor_bytes=max([view.floor_bytes, view.report.largest_step_bytes, *(each.home_bytes for each in modules)]),
        held_bytes=reserved_bytes(view),
        whole_bytes=sum(status.home_bytes for status in modules),
        used_bytes=sum(status.home_bytes for status in used),
        staying_bytes=sum(status.home_bytes for status in modules if _stays(status, orders.get(status.module))),
    )


def reserved_bytes(view: ServiceView) -> int:
    """Return what a service's modules take on the device; one that is on its way home has its room already."""
    return sum(status.home_bytes for status in view.report.modules if status.home == view.tier and _takes_room(status))


def pool_bytes(claims: tuple[Claim, ...], *, free_bytes: int, critical_bytes: int) -> int:
    """Return what governed services may hold together: capacity - demand - critical."""
    return max(0, free_bytes + sum(claim.held_bytes for claim in claims) - critical_bytes)


def divided(before: Mapping[ServiceName, int], claims: tuple[Claim, ...], pool: int) -> Reservations:
    """Return the budgets for a pool, those before where they are still right; for one alone see `alone`."""
    if not claims:
        return Reservations(budgets={})
    if len(claims) == 1:
        return alone(before, claims[0], pool)
    handed_out = reserve(claims, pool - int(pool * SLACK_SHARE))
    if _hold(before, claims) and not _hold(handed_out.budgets, claims):
        # What is used is taken away only where it is not there at all: the slack is for the rest.
        in_use = {claim.service: max(claim.floor_bytes, claim.used_bytes) for claim in claims}
        handed_out = Reservations(budgets=in_use) if sum(in_use.values()) <= pool else handed_out
    overdraft_bytes = max(0, sum(claim.floor_bytes for claim in claims) - pool)
    new = Reservations(budgets=handed_out.budgets, overdraft_bytes=overdraft_bytes)
    below_floor = any(before.get(claim.service, 0) < claim.floor_bytes for claim in claims)
    # A budget a little below what a service uses costs it a move with every segment: a little more is then no noise.
    relieved = any(before.get(one.service, 0) < one.used_bytes <= new.budgets[one.service] for one in claims)
    return new if below_floor or relieved else keep_or_renew(before, new, pool)


def _hold(budgets: Mapping[ServiceName, int], claims: tuple[Claim, ...]) -> bool:
    """Tell whether budgets hold all that services use now."""
    return all(budgets.get(claim.service, 0) >= claim.used_bytes for claim in claims)


def squeezed_bytes(claims: tuple[Claim, ...], budgets: Mapping[ServiceName, int]) -> int:
    """Return what several services use now beyond their budgets: so much of it takes turns."""
    if len(claims) == 1:
        return 0
    return sum(max(0, claim.used_bytes - budgets[claim.service]) for claim in claims)


def reserve(claims: tuple[Claim, ...], pool: int) -> Reservations:
    """Return budgets that sum up to the pool, none below its floor."""
    floors = {claim.service: claim.floor_bytes for claim in claims}
    left = pool - sum(floors.values())
    if left <= 0 or not claims:
        return Reservations(budgets=floors, overdraft_bytes=max(0, -left))
    budgets = dict(floors)
    for wants in (
        {claim.service: claim.used_bytes for claim in claims},
        {claim.service: claim.whole_bytes for claim in claims},
    ):
        shares = _fair({name: max(0, want - budgets[name]) for name, want in wants.items()}, left)
        left -= sum(shares.values())
        budgets = {name: budget + shares[name] for name, budget in budgets.items()}
    rest = left // len(claims)
    return Reservations(budgets={name: budget + rest for name, budget in budgets.items()})


def keep_or_renew(before: Mapping[ServiceName, int], new: Reservations, pool: int) -> Reservations:
    """Return the old budgets where they are still right: the same services, within the pool, and hardly different."""
    if before.keys() != new.budgets.keys() or sum(before.values()) > pool:
        return new
    kept = all(abs(new.budgets[name] - budget) <= budget * KEEP_SHARE for name, budget in before.items())
    return Reservations(budgets=before, overdraft_bytes=new.overdraft_bytes) if kept else new


def alone(before: Mapping[ServiceName, int], claim: Claim, pool: int) -> Reservations:
    """Return the budget of a service that shares with nobody, none while there is room for all that it has.

    It sends nothing away, because what has to leave is ordered: it bounds what requests bring back. Only the floor may
    take more than the pool. One that is in force ends when there is room with the slack, so that noise changes nothing.
    """
    handed_out = pool - int(pool * SLACK_SHARE)
    known = before.get(claim.service)
    least = max(claim.floor_bytes, claim.staying_bytes)
    if max(least, pool if known is None else handed_out) >= claim.whole_bytes:
        return Reservations(budgets={})
    new = max(least, handed_out)
    kept = known is not None and least <= known <= max(least, pool) and abs(new - known) <= known * KEEP_SHARE
    budget = known if known is not None and kept else new
    return Reservations(budgets={claim.service: budget}, overdraft_bytes=max(0, claim.floor_bytes - pool))


def _stays(status: ModuleStatus, order: Order | None) -> bool:
    """Tell whether a module has its room, or was called home; what must leave whatever claims it has gives it up.

    What is asked away below `low` may stay for as long as it is claimed, and must not be sent away for the budget.
    """
    if order is None or (order.leaves and order.urgency is Urgency.WHEN_UNCLAIMED):
        return _takes_room(status)
    return not order.leaves


def _takes_room(status: ModuleStatus) -> bool:
    return status.at_home or status.state is ModuleState.RESTORING


def _fair(wants: Mapping[ServiceName, int], pool: int) -> dict[ServiceName, int]:
    """Share a pool so that nobody gets more than it wants, and nobody less than another who is not satisfied."""
    shares: dict[ServiceName, int] = {}
    left = pool
    for position, (name, want) in enumerate(sorted(wants.items(), key=lambda item: (item[1], item[0]))):
        shares[name] = min(want, left // (len(wants) - position))
        left -= shares[name]
    return shares
