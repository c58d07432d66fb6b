"""Whose turn it is where modules do not all fit at home: those who compute with some wait for those with others.

A turn lasts as long as a segment's stages of one group of modules. Without turns, two sessions would bring each other's
modules in and out at every step. Where everything fits, everybody's turn comes at once.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from tts_service.abandonment import OnWait, StepAbandonedError, abandonable
from tts_service.types import ModuleName

Holds = Callable[[frozenset[ModuleName]], bool]


class StepTurns:
    """First come, first served; those whose modules fit beside everybody's share a turn. For one event loop.

    `holds` tells whether modules fit together.
    """

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._now: list[frozenset[ModuleName]] = []
        self._queue: deque[tuple[frozenset[ModuleName], asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def turn(self, modules: frozenset[ModuleName], *, on_wait: OnWait) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the length of a block.

        `on_wait` is given what ends the wait, which then raises StepAbandonedError.
        """
        if self._queue or not self._fits(modules):
            await self._wait(modules, on_wait)
        else:
            self._now.append(modules)
        try:
            yield
        finally:
            self._now.remove(modules)
            self._admit()

    def others(self, modules: Collection[ModuleName]) -> frozenset[ModuleName]:
        """Return which of these modules nobody computes with at present; none where nobody has taken a turn."""
        return frozenset(modules).difference(*self._now) if self._now else frozenset()

    async def _wait(self, modules: frozenset[ModuleName], on_wait: OnWait) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (modules, future)
        self._queue.append(place)
        on_wait(future.cancel)
        try:
            await abandonable(future)
        except (asyncio.CancelledError, StepAbandonedError):
            if place in self._queue:
                self._queue.remove(place)
            elif not future.cancelled():
                self._now.remove(modules)
            self._admit()
            raise

    def _admit(self) -> None:
        while self._queue:
            modules, waiting = self._queue[0]
            if not self._fits(modules):
                return
            self._queue.popleft()
            if not waiting.cancelled():
                self._now.append(modules)
                waiting.set_result(None)

    def _fits(self, modules: frozenset[ModuleName]) -> bool:
        return not self._now or self._holds(modules.union(*self._now))

    def __repr__(self) -> str:
        return f"<StepTurns {len(self._now)} have one | {len(self._queue)} wait>"
