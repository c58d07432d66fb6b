"""Those who wait for modules: a future each, and what they are told when it comes to nothing.

Not thread-safe: the manager guards it with its lock. Futures are completed by what is returned, and outside that lock,
because whoever waits may run at once.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count

from tts_service.errors import Reason, ServiceError
from tts_service.residency.leases import Request
from tts_service.residency.placement import Decision, Hopeless
from tts_service.types import ModuleName

RETRY_SECONDS = 1.0
"""What a request is told to wait after it found no module in time: a restore of the largest takes less."""

BUDGET_RETRY_SECONDS = 5.0
"""What a request is told to wait when the budget is too small: budgets change at the pace of a daemon's cool-down."""

Outcome = Callable[[], None]


@dataclass(slots=True, kw_only=True)
class Waiter:
    """One request, since when it waits and how long it may."""

    request: Request
    began_seconds: float
    timeout_seconds: float
    future: Future[None] = field(default_factory=Future)


class WaitingRoom:
    """Every request that waits, by ticket."""

    def __init__(self) -> None:
        self._waiters: dict[int, Waiter] = {}
        self._tickets = count(1)

    def __repr__(self) -> str:
        return f"<WaitingRoom {len(self._waiters)} wait>"

    def __contains__(self, ticket: int) -> bool:
        return ticket in self._waiters

    def enter(
        self, modules: frozenset[ModuleName], *, holds: bool, now_seconds: float, timeout_seconds: float
    ) -> Waiter:
        """Give a request its ticket and let it wait."""
        request = Request(ticket=next(self._tickets), modules=modules, holds=holds)
        waiter = Waiter(request=request, began_seconds=now_seconds, timeout_seconds=timeout_seconds)
        self._waiters[request.ticket] = waiter
        return waiter

    def waited_seconds(self, ticket: int, *, now_seconds: float) -> float:
        """Return how long a request has waited."""
        return now_seconds - self._waiters[ticket].began_seconds

    def serve(self, ticket: int) -> Outcome:
        """Let a request go with success."""
        future = self._waiters.pop(ticket).future
        return lambda: _succeed(future)

    def refuse(self, ticket: int, error: ServiceError) -> Outcome:
        """Let a request go with an error."""
        future = self._waiters.pop(ticket).future
        return lambda: _fail(future, error)

    def leave(self, ticket: int) -> None:
        """Forget a request whose owner has gone."""
        self._waiters.pop(ticket, None)

    def overdue(self, *, now_seconds: float) -> tuple[Waiter, ...]:
        """Return those whose time is up."""
        return tuple(each for each in self._waiters.values() if _end_seconds(each) <= now_seconds)

    def next_end_seconds(self) -> float | None:
        """Return when somebody's time is up next."""
        return min((_end_seconds(each) for each in self._waiters.values()), default=None)

    def waiting_for(self, module: ModuleName) -> tuple[int, ...]:
        """Return the tickets of those who wait for a module."""
        return tuple(ticket for ticket, each in self._waiters.items() if module in each.request.modules)

    def tickets(self) -> tuple[int, ...]:
        """Return everybody's ticket."""
        return tuple(self._waiters)


def served() -> Future[None]:
    """Return what is told whoever need not wait; nobody can change it, so one does for all."""
    future: Future[None] = Future()
    future.set_result(None)
    return future


def hopeless_error(hopeless: Hopeless, *, budget_bytes: int) -> ServiceError:
    """Return what a request is told that the budget cannot hold."""
    return ServiceError(
        Reason.DEVICE_MEMORY,
        f"{_names(hopeless.request)} need {hopeless.needed_bytes:,} bytes at home, with what is pinned; "
        f"the budget is {budget_bytes:,}",
        metadata={"needed_bytes": str(hopeless.needed_bytes), "budget_bytes": str(budget_bytes)},
        retry_after_seconds=BUDGET_RETRY_SECONDS,
    )


def overdue_error(waiter: Waiter, decision: Decision) -> ServiceError:
    """Return what a request is told whose time is up: DEVICE_MEMORY if it lacked room, else ENGINE_FAULT."""
    no_room = waiter.request.ticket in decision.roomless
    trouble = "found no room" if no_room else "did not come back"
    return ServiceError(
        Reason.DEVICE_MEMORY if no_room else Reason.ENGINE_FAULT,
        f"{_names(waiter.request)} {trouble} within {waiter.timeout_seconds:g} s",
        retry_after_seconds=RETRY_SECONDS,
    )


def broken_error(module: ModuleName) -> ServiceError:
    """Return what a request is told whose module could not be brought back; the log has the cause, with its paths."""
    message = f"{module} could not be brought back; the service's log says why"
    return ServiceError(Reason.ENGINE_FAULT, message, metadata={"module": module})


def closing_error() -> ServiceError:
    """Return what those are told who still wait when the service ends."""
    return ServiceError(Reason.DRAINING, "the service is shutting down", retry_after_seconds=RETRY_SECONDS)


def _names(request: Request) -> str:
    return ", ".join(sorted(request.modules))


def _end_seconds(waiter: Waiter) -> float:
    return waiter.began_seconds + waiter.timeout_seconds


def _succeed(future: Future[None]) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(None)


def _fail(future: Future[None], error: ServiceError) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
