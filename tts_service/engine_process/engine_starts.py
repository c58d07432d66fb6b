"""Starts engines: as copies of a spare process where there is one, else each from nothing.

The first engine is a copy already, so that what both have imported is in memory once. What an engine imports later is
imported by the spare too once the service is idle, so that the next one has nothing left to import.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from tts_service.engine_process.child import EngineChild, LentDescriptors
from tts_service.engine_process.process_rules import adopt_orphans
from tts_service.engine_process.spare_process import SpareGoneError, SpareProcess

FORK_SECONDS: Final = 120.0
"""How long a copy may take: the first one waits for imports, on a machine that may be busy."""

IDLE_LOOK_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 60.0
"""So long a service that is never idle is waited for: the priority is low enough to begin all the same."""

REST_SECONDS: Final = 60.0
"""Between two spare processes, if one does not last."""

_log = structlog.get_logger(__name__)


class EngineStarts:
    """Starts them. With `spare` off, or once a spare was not to be had, from nothing."""

    def __init__(self, *, spare: bool, clock: Callable[[], float]) -> None:
        self._wanted = spare and adopt_orphans()
        self._clock = clock
        self._spare: SpareProcess | None = None
        self._begun_at: float | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def spare(self) -> SpareProcess | None:
        """The spare process, if there is one."""
        return self._spare if self._spare is not None and self._spare.is_there else None

    @property
    def is_prepared(self) -> bool:
        """Whether the next engine has nothing left to import."""
        return self.spare is not None and self.spare.prepared

    async def engine(self, lent: LentDescriptors) -> EngineChild:
        """Start an engine, which waits for its configuration."""
        if self._wanted and self._begun_at is None:
            await self._begin()
        spare = self.spare
        if spare is None:
            return await EngineChild.started(lent)
        began = self._clock()
        try:
            child = await spare.engine(lent, within_seconds=FORK_SECONDS)
        except (SpareGoneError, OSError) as error:
            _log.warning("engine_not_copied", reason=str(error), consequence="it imports everything by itself")
            await spare.end()
            return await EngineChild.started(lent)
        _log.info("engine_copied", pid=child.pid, spare=spare.pid, seconds=round(self._clock() - began, 3))
        return child

    def keep_ready(self, imports: Sequence[str], *, idle: Callable[[], bool]) -> None:
        """From now on have the spare import this, once the service is idle, and have another if it goes."""
        if self._wanted and self._keeping is None:
            self._keeping = asyncio.create_task(self._keep(imports, idle))

    async def end(self) -> None:
        """End the spare process; engines are none of this."""
        self._wanted = False
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._spare is not None:
            await self._spare.end()

    async def _keep(self, imports: Sequence[str], idle: Callable[[], bool]) -> None:
        while True:
            await self._until_idle(idle)
            spare = self.spare
            if spare is None:
                await self._rest()
                await self._begin()
                spare = self.spare
            if spare is not None and not spare.prepared:
                spare.prepare(imports)
            if spare is not None:
                await spare.gone.wait()

    async def _until_idle(self, idle: Callable[[], bool]) -> None:
        deadline = self._clock() + PATIENCE_SECONDS
        await asyncio.sleep(IDLE_LOOK_SECONDS)
        while not idle() and self._clock() < deadline:  # noqa: ASYNC110  # Sessions come and go; nobody tells of none.
            await asyncio.sleep(IDLE_LOOK_SECONDS)

    async def _rest(self) -> None:
        if self._begun_at is not None:
            await asyncio.sleep(max(0.0, self._begun_at + REST_SECONDS - self._clock()))

    async def _begin(self) -> None:
        if self._spare is not None:
            await self._spare.end()
        self._begun_at = self._clock()
        try:
            self._spare = await SpareProcess.started()
        except OSError as error:
            self._spare = None
            _log.warning("spare_not_started", reason=str(error))

    def __repr__(self) -> str:
        return f"<EngineStarts {self._spare!r}>"
