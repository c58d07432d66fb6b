"""Who uses which module now, who has an interest in it, and who waits for it.

* A lease is shared: any number of steps may use a module at once; it only keeps the module from moving.
* A request asks for all its modules at once and is served whole or not at all, so that nobody holds one module while
  waiting for another.
* A lease begins and ends with every step of speech; `replace` would take half of that time.
* Requests wait in the order in which they came. One whose modules are all ready may pass those whose modules are not:
  it takes nothing from them, because what must leave for an earlier one is not ready (see `placement`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from tts_service.types import ModuleName

Counts = Mapping[ModuleName, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A wish to have modules at home at one moment; `holds` says whether it then holds them as a lease."""

    ticket: int
    modules: frozenset[ModuleName]
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """Leases held, claims and keeps by module (only counts above zero are kept), uses, and the requests that wait.

    `keeps` count what somebody has in a module that must not be lost: it does not leave, whatever the need.
    `last_use_seconds` is the start of a module's last lease: requests that wait do not make a module warmer.
    """

    held: Counts = field(default_factory=dict)
    claims: Counts = field(default_factory=dict)
    keeps: Counts = field(default_factory=dict)
    uses: Counts = field(default_factory=dict)
    last_use_seconds: Mapping[ModuleName, float] = field(default_factory=dict)
    waiting: tuple[Request, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<Leases {sum(self.held.values())} held | {sum(self.claims.values())} claims | {len(self.waiting)} wait>"
        )


def ask(leases: Leases, request: Request) -> Leases:
    """Put a request at the end of the queue."""
    assert request.modules
    return replace(leases, waiting=(*leases.waiting, request))


def withdraw(leases: Leases, tickets: frozenset[int]) -> Leases:
    """Take requests out of the queue; those that are not in it are ignored."""
    return replace(leases, waiting=tuple(request for request in leases.waiting if request.ticket not in tickets))


def grantable(leases: Leases, ready: frozenset[ModuleName]) -> tuple[Request, ...]:
    """Return the waiting requests whose modules are all ready, in the order in which they came."""
    return tuple(request for request in leases.waiting if request.modules <= ready)


def grant(leases: Leases, request: Request, *, now_seconds: float) -> Leases:
    """Serve a request that waits: it leaves the queue and, if it holds, begins its lease."""
    served = withdraw(leases, frozenset({request.ticket}))
    return begin(served, request.modules, now_seconds=now_seconds) if request.holds else served


def begin(leases: Leases, modules: frozenset[ModuleName], *, now_seconds: float) -> Leases:
    """Begin a lease on modules that are ready."""
    return Leases(
        held=_more(leases.held, modules),
        claims=leases.claims,
        keeps=leases.keeps,
        uses=_more(leases.uses, modules),
        last_use_seconds={**leases.last_use_seconds, **dict.fromkeys(modules, now_seconds)},
        waiting=leases.waiting,
    )


def end(leases: Leases, modules: frozenset[ModuleName]) -> Leases:
    """End a lease."""
    return Leases(
        held=_fewer(leases.held, modules),
        claims=leases.claims,
        keeps=leases.keeps,
        uses=leases.uses,
        last_use_seconds=leases.last_use_seconds,
        waiting=leases.waiting,
    )


def claim(leases: Leases, modules: frozenset[ModuleName]) -> Leases:
    """Note an open utterance's interest."""
    return replace(leases, claims=_more(leases.claims, modules))


def release(leases: Leases, modules: frozenset[ModuleName]) -> Leases:
    """Note that the interest is gone."""
    return replace(leases, claims=_fewer(leases.claims, modules))


def keep(leases: Leases, module: ModuleName, count: int) -> Leases:
    """Note that so many more, or fewer if negative, have something in a module that must not be lost."""
    total = leases.keeps.get(module, 0) + count
    assert total >= 0, "ended more often than begun"
    others = {name: each for name, each in leases.keeps.items() if name != module}
    return replace(leases, keeps={**others, module: total} if total else others)


def _more(counts: Counts, modules: Iterable[ModuleName]) -> Counts:
    more = dict(counts)
    for module in modules:
        more[module] = more.get(module, 0) + 1
    return more


def _fewer(counts: Counts, modules: frozenset[ModuleName]) -> Counts:
    fewer = dict(counts)
    for module in modules:
        left = fewer.pop(module, 0) - 1
        assert left >= 0, "ended more often than begun"
        if left:
            fewer[module] = left
    return fewer
