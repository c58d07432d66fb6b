"""Who may hold how much of one device: budgets are reservations, and their sum stays below what is there.

Pure. What nobody governs is simply demand: capacity less demand is what is free and what governed services hold. Of
that, `critical` is kept free. First everyone gets its floor (one utterance must fit), then what its modules weigh
together, fairly; what is left over is shared. Floors are promises: where they alone are too much, they are handed out
all the same and the overdraft is told.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from memory_daemon.types import ServiceName

KEEP_SHARE = 1 / 8
"""A budget that would change by less than this share is left as it is, so that noise sends no directives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one service needs of a device: `floor_bytes` for one utterance, and what it holds and weighs."""

    service: ServiceName
    floor_bytes: int
    held_bytes: int
    whole_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservations:
    """Budgets by service; `overdraft_bytes` is what the floors promise beyond what is there."""

    budgets: Mapping[ServiceName, int]
    overdraft_bytes: int = 0


def pool_bytes(claims: tuple[Claim, ...], *, free_bytes: int, critical_bytes: int) -> int:
    """Return what governed services may hold together: capacity - demand - critical."""
    return max(0, free_bytes + sum(claim.held_bytes for claim in claims) - critical_bytes)


def reserve(claims: tuple[Claim, ...], pool: int) -> Reservations:
    """Return budgets that sum up to the pool, none below its floor."""
    floors = {claim.service: claim.floor_bytes for claim in claims}
    left = pool - sum(floors.values())
    if left <= 0 or not claims:
        return Reservations(budgets=floors, overdraft_bytes=max(0, -left))
    wants = {claim.service: max(0, claim.whole_bytes - claim.floor_bytes) for claim in claims}
    shares = _fair(wants, left)
    rest = (left - sum(shares.values())) // len(claims)
    return Reservations(budgets={name: floors[name] + shares[name] + rest for name in floors})


def keep_or_renew(before: Mapping[ServiceName, int], new: Reservations, pool: int) -> Reservations:
    """Return the old budgets where they are still right: the same services, within the pool, and hardly different."""
    if before.keys() != new.budgets.keys() or sum(before.values()) > pool:
        return new
    kept = all(abs(new.budgets[name] - budget) <= budget * KEEP_SHARE for name, budget in before.items())
    return Reservations(budgets=before) if kept else new


def _fair(wants: Mapping[ServiceName, int], pool: int) -> dict[ServiceName, int]:
    """Share a pool so that nobody gets more than it wants, and nobody less than another who is not satisfied."""
    shares: dict[ServiceName, int] = {}
    left = pool
    for position, (name, want) in enumerate(sorted(wants.items(), key=lambda item: (item[1], item[0]))):
        shares[name] = min(want, left // (len(wants) - position))
        left -= shares[name]
    return shares
