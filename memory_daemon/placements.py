"""The wish for one service: the policy's orders, with operators' overrides above them.

Pure. A module that its service does not report is never listed, because one unknown name refuses the whole directive.
"""

from collections.abc import Mapping

from memory_daemon.orders import Order
from memory_daemon.types import ModuleName, ModuleStatus, Override, OverrideKind, Placement, Tier, Wish


def compose(
    modules: tuple[ModuleStatus, ...],
    orders: Mapping[ModuleName, Order],
    overrides: Mapping[ModuleName, Override],
    budget_bytes: int | None,
) -> Wish:
    """Return the whole placement wanted of a service, in the order of its report."""
    placements = [
        _override_placement(status, overrides[status.module])
        if status.module in overrides
        else _order_placement(status, orders.get(status.module))
        for status in modules
    ]
    return Wish(
        placements=tuple(placement for placement in placements if placement is not None), budget_bytes=budget_bytes
    )


def moves(before: Wish, after: Wish, modules: tuple[ModuleStatus, ...]) -> tuple[list[ModuleName], list[ModuleName]]:
    """Return the modules that a new wish sends away, and those that it calls home, of those that are elsewhere."""
    known = set(before.placements)
    fresh = {placement.module: placement.tier for placement in after.placements if placement not in known}
    asked = [status for status in modules if status.module in fresh and fresh[status.module] != status.tier]
    evict = [status.module for status in asked if fresh[status.module] > status.home >= status.tier]
    return evict, [status.module for status in asked if fresh[status.module] <= status.home]


def shifts(before: Wish, after: Wish, modules: tuple[ModuleStatus, ...]) -> tuple[list[ModuleName], list[ModuleName]]:
    """Return the modules away from home that a new wish sends to disk, and those that it brings back from there."""
    known = set(before.placements)
    fresh = {placement.module: placement.tier for placement in after.placements if placement not in known}
    away = [status for status in modules if not status.at_home and fresh.get(status.module, Tier.DEVICE) > status.home]
    to_disk = [status.module for status in away if fresh[status.module] > status.tier]
    return to_disk, [status.module for status in away if fresh[status.module] < status.tier]


def _order_placement(status: ModuleStatus, order: Order | None) -> Placement | None:
    return None if order is None else Placement(module=status.module, tier=order.tier, urgency=order.urgency)


def _override_placement(status: ModuleStatus, override: Override) -> Placement:
    match override.kind:
        case OverrideKind.PIN:
            return Placement(module=status.module, tier=status.home)
        case OverrideKind.HOLD:
            return Placement(module=status.module, tier=status.tier)
        case OverrideKind.EVICT:
            return Placement(module=status.module, tier=status.away)
