"""Whether the memory for several segments at once is there, and how it comes: never at the cost of anybody's speech."""

import math
import time
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError, Future
from typing import Final, Protocol

import structlog

from tts_service.errors import GreenroomError
from tts_service.types import ModuleName

AGAIN_SECONDS: Final = 5.0
"""After which memory that was not to be had, or was sent away from those who used it, is asked for again."""


_log = structlog.get_logger(__name__)


class Holds(Protocol):
    """What of the modules fits at home (`residency.room`)."""

    def holds(self, modules: Collection[ModuleName]) -> bool:
        """Tell whether modules fit together."""
        ...


class Residency(Protocol):
    """Where modules are (`ResidencyManager`)."""

    @property
    def room(self) -> Holds:
        """What fits."""
        ...

    def away(self, modules: Collection[ModuleName]) -> tuple[ModuleName, ...]:
        """Return those that are not ready to be leased."""
        ...

    def prepare(self, modules: Collection[ModuleName]) -> Future[None]:
        """Have modules brought home."""
        ...


class CompanyRoom:
    """Asks for memory beside `speech`, which are all modules that speech needs at once; for one thread.

    `ring` is called from any thread when it has come.
    """

    def __init__(
        self,
        residency: Residency,
        speech: frozenset[ModuleName],
        ring: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._residency = residency
        self._speech = speech
        self._ring = ring
        self._clock = clock
        self._coming: Future[None] | None = None
        self._not_before = 0.0
        self._home_at = -math.inf
        self._lacked_until = -math.inf

    def is_home(self, modules: frozenset[ModuleName]) -> bool:
        """Tell whether these modules may be leased now; if not, have them come, if they fit beside all others."""
        now = self._clock()
        if now < self._lacked_until:
            return False
        if not self._residency.away(modules):
            self._home_at = now
            return True
        coming = self._coming
        if coming is not None and coming.done():
            self._coming = None
            if _has_failed(coming):
                self._not_before = now + AGAIN_SECONDS
        # What left so soon was sent away: it does not come back for the asking, again and again.
        if self._coming is None and now >= max(self._not_before, self._home_at + AGAIN_SECONDS):
            self._ask(modules, now)
        return False

    def lacked(self, error: Exception) -> None:
        """Note that there was no memory for what several did at once: for a while each does it alone."""
        self._lacked_until = self._clock() + AGAIN_SECONDS
        _log.warning("company_lacks_memory", error=str(error), consequence="sound is made one after the other")

    def _ask(self, modules: frozenset[ModuleName], now: float) -> None:
        if not self._residency.room.holds(modules | self._speech):
            self._not_before = now + AGAIN_SECONDS
            return
        self._coming = self._residency.prepare(modules)
        self._coming.add_done_callback(lambda _: self._ring())

    def __repr__(self) -> str:
        return f"<CompanyRoom {'coming' if self._coming is not None else 'asked for nothing'}>"


def _has_failed(coming: Future[None]) -> bool:
    try:
        coming.result()
    except (GreenroomError, CancelledError):
        return True
    return False
