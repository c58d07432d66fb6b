"""A call that is made once for all who asked for it within a moment."""

import asyncio
from collections.abc import Callable
from typing import Final

GATHERED_SECONDS: Final = 0.01
"""From the first who asks; it takes longer the busier the loop is."""


class GatheredCall:
    """For one event loop, in its thread."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._waiting: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Make it a moment from now, or with who asked before."""
        self._waiting = self._waiting or asyncio.get_running_loop().call_later(GATHERED_SECONDS, self.now)

    def now(self) -> None:
        """Make it now, for those who wait too."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self._call()

    def __repr__(self) -> str:
        return f"<GatheredCall of {self._call!r}{' soon' if self._waiting else ''}>"
