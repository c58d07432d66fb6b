"""Which sessions are open: admission when one begins, and the word to all of them when the service drains."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

from tts_service.errors import Reason, ServiceError

Result = TypeVar("Result")


class Drainable(Protocol):
    """A session that can be told that the service stops."""

    @property
    def queued(self) -> int:
        """Utterances that wait for a place to compute."""
        ...

    @property
    def beginning(self) -> bool:
        """Whether it was asked to speak, for somebody who listens, and has not sounded yet."""
        ...

    def drain(self, deadline: float) -> None:
        """Take the word."""
        ...


class Sessions:
    """The sessions of this process. `on_change` hears their number."""

    def __init__(
        self, *, limit: int, clock: Callable[[], float], on_change: Callable[[int], None] = lambda _count: None
    ) -> None:
        self.limit = limit
        self.drain_deadline: float | None = None
        self._clock = clock
        self._on_change = on_change
        self._count = 0
        self._opening = 0
        self._shells: set[Drainable] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._bounds: set[asyncio.Timeout] = set()

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Hold a place; raise AT_CAPACITY or DRAINING if there is none."""
        self.check_draining()
        if self._count >= self.limit:
            message = f"all {self.limit} places are taken"
            raise ServiceError(Reason.AT_CAPACITY, message, retry_after_seconds=1.0)
        with self.place():
            yield

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place that somebody else has found."""
        self._count += 1
        self._empty.clear()
        self._on_change(self.count)
        try:
            yield
        finally:
            self._count -= 1
            self._on_change(self.count)
            self._set_empty()

    @contextlib.contextmanager
    def opening(self, *, most: int) -> Iterator[None]:
        """Hold a stream that has not said yet what it wants and has no place; raise AT_CAPACITY beyond `most`."""
        if self._opening >= most:
            message = f"{most} streams have not said yet what they want"
            raise ServiceError(Reason.AT_CAPACITY, message, retry_after_seconds=1.0)
        self._opening += 1
        self._empty.clear()
        self._on_change(self.count)
        try:
            yield
        finally:
            self._opening -= 1
            self._on_change(self.count)
            self._set_empty()

    def _set_empty(self) -> None:
        if not self._count and not self._opening:
            self._empty.set()

    async def unless_draining(self, wait: Coroutine[Any, Any, Result]) -> Result:
        """Wait for something, or raise DRAINING when the service begins to stop before it has come."""
        # A bound that a drain draws in, because tasks for both would cost every call some turns of the loop.
        bound = asyncio.timeout(None if self.drain_deadline is None else 0)
        self._bounds.add(bound)
        try:
            async with bound:
                return await wait
        except TimeoutError:
            if bound.expired():
                self.check_draining()
            raise
        finally:
            self._bounds.discard(bound)

    def check_draining(self) -> None:
        """Raise DRAINING if the service stops."""
        if self.drain_deadline is not None:
            seconds_left = max(0.0, self.drain_deadline - self._clock())
            message = "the service is stopping; speak elsewhere"
            raise ServiceError(Reason.DRAINING, message, retry_after_seconds=seconds_left)

    @contextlib.contextmanager
    def listed(self, shell: Drainable) -> Iterator[None]:
        """Keep a session on the list of those that hear of a drain."""
        self._shells.add(shell)
        if self.drain_deadline is not None:
            shell.drain(self.drain_deadline)
        try:
            yield
        finally:
            self._shells.discard(shell)

    @property
    def count(self) -> int:
        """Sessions that are open, with those that have not said yet what they want."""
        return self._count + self._opening

    @property
    def queued(self) -> int:
        """Utterances of all sessions that wait for a place to compute."""
        return sum(shell.queued for shell in self._shells)

    @property
    def beginning(self) -> int:
        """Sessions that were asked to speak, for somebody who listens, and have not sounded yet."""
        return sum(shell.beginning for shell in self._shells)

    def drain(self, deadline: float) -> None:
        """Refuse new sessions from now on, and tell the open ones."""
        self.drain_deadline = deadline
        for bound in [each for each in self._bounds if not each.expired()]:
            bound.reschedule(asyncio.get_running_loop().time())
        for shell in tuple(self._shells):
            shell.drain(deadline)

    async def wait_empty(self, timeout_seconds: float) -> bool:
        """Wait until no session is open; return whether that came to be in time."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def __repr__(self) -> str:
        return f"<Sessions {self._count} of {self.limit}{' draining' if self.drain_deadline is not None else ''}>"
