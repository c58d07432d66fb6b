"""Room that is made for a module to grow, as something to wait for, to hold and to let go of."""

from concurrent.futures import Future
from types import TracebackType
from typing import Self

from tts_service.residency.growth import RoomWantedError
from tts_service.residency.guard import Guard


class KeptRoom:
    """Bytes that nobody else gets. `ready` comes when they are there, or fails as a lease would.

    Who has waited takes them by growing; `release` lets go of what was not taken. Raises `wanted` if it cannot be had.
    """

    def __init__(self, guard: Guard, wanted: RoomWantedError, *, timeout_seconds: float) -> None:
        self._guard = guard
        with guard.changing() as register:
            waiter = register.make_room(wanted, now_seconds=guard.clock(), timeout_seconds=timeout_seconds)
        if waiter is None:
            raise wanted
        self._waiter = waiter
        self._wanted = wanted

    def __repr__(self) -> str:
        return f"<KeptRoom of {self._wanted.byte_count} bytes for {self._wanted.module}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    @property
    def ready(self) -> "Future[None]":
        """Comes when the room is there."""
        return self._waiter.future

    def release(self) -> None:
        """Keep it no more; more than once does nothing."""
        with self._guard.changing() as register:
            register.withdraw(self._waiter)
