"""Wakes coroutines when something that threads change has come to hold."""

import asyncio
from collections.abc import Callable

Holds = Callable[[], bool]


class Bell:
    """Coroutines of one event loop that wait, each for something of its own. Whoever changes something rings.

    What is waited for is looked at by whoever rings, in its thread: it must be quick and read what others write.
    """

    def __init__(self) -> None:
        self._waiting: tuple[tuple[asyncio.Future[None], Holds], ...] = ()
        """Replaced by the loop's thread alone, so that others may read it at any time."""

    async def wait_for(self, holds: Holds) -> None:
        """Wait until something holds."""
        loop = asyncio.get_running_loop()
        while not holds():
            future: asyncio.Future[None] = loop.create_future()
            self._waiting = (*self._waiting, (future, holds))
            try:
                # Looked at again: it may have come to hold before the bell knew of this wait.
                if not holds():
                    await future
            finally:
                self._waiting = tuple(each for each in self._waiting if each[0] is not future)

    def ring(self) -> None:
        """Wake those whose wait is over; from any thread."""
        for future, holds in self._waiting:
            if holds():
                loop = future.get_loop()
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_wake, future)

    def __repr__(self) -> str:
        return f"<Bell {len(self._waiting)} wait>"


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
