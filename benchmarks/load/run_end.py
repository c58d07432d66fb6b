"""When a run is over: at a time, or when somebody says so."""

import asyncio
import contextlib
import time


class RunEnd:
    """The end of a run, which every part of it watches."""

    def __init__(self, *, seconds: float) -> None:
        self.at = time.monotonic() + seconds
        self.why = ""
        self._event = asyncio.Event()

    def __repr__(self) -> str:
        return f"<RunEnd in {self.left_seconds:.1f} s {self.why}>"

    @property
    def is_over(self) -> bool:
        """Whether nothing new is to begin."""
        return self._event.is_set() or self.left_seconds <= 0.0

    @property
    def left_seconds(self) -> float:
        """How long it will go on, at most."""
        return 0.0 if self._event.is_set() else self.at - time.monotonic()

    def now(self, why: str) -> None:
        """End it; only the first reason counts."""
        self.why = self.why or why
        self._event.set()

    async def sleep(self, seconds: float) -> bool:
        """Wait for so long, or until the end; return whether the run goes on."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(seconds, self.left_seconds))):
                await self._event.wait()
        return not self.is_over
