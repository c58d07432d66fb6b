"""An engine with the lane of tokens, for segments whose tokens are numbers."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from tests.fakes.device_figures import ENGLISH
from tests.fakes.fake_modules import FakeModules
from tests.fakes.joined_segments import TOKENS, JoinedSegment, Taker
from tests.fakes.session_driver import OFFER
from tts_service.busy_time import BusyTime
from tts_service.engine import Engine
from tts_service.listening import Listening, Place
from tts_service.loops import Pace
from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.scheduling.token_bursts import BurstLimits
from tts_service.scheduling.token_rests import RestLimits
from tts_service.scheduling.urgency import Patience
from tts_service.speech.playback import PlaybackClock
from tts_service.speech.rendering import Heard
from tts_service.speech.session_config import ConfigRequest, Defaults, Pacing, SessionConfig, resolve
from tts_service.speech.speech_model import Lane
from tts_service.types import Priority
from tts_service.workers import Workers

INTERACTIVE: SessionConfig = resolve(ConfigRequest(), OFFER, Defaults(seed=1, pacing=Pacing.REALTIME))
BULK: SessionConfig = resolve(ConfigRequest(priority=Priority.BULK), OFFER, Defaults(seed=1, pacing=Pacing.NONE))
TIMEOUT_SECONDS = 20.0


def place(config: SessionConfig = INTERACTIVE, *, ahead_seconds: float = 0.0, now: float | None = None) -> Place:
    """Return a place of somebody who still has so much to hear, from the system's present on or from another."""
    now = time.monotonic() if now is None else now
    listening = Listening(config, now=now)
    clock = PlaybackClock(sent_seconds=ahead_seconds, as_of=now)
    listening.ordered(Heard(clock=clock, unsent_seconds=0.0, ordered_at=now))
    return Place(listening=listening, ordered_at=now, busy=BusyTime(time.perf_counter))


def paused(where: Place, *, ahead_seconds: float, since: float, now: float | None = None) -> None:
    """Let the client say that it stands still with so much left to hear."""
    now = time.monotonic() if now is None else now
    clock = PlaybackClock(
        sent_seconds=ahead_seconds + 1.0, played_seconds=1.0, as_of=now, reported_at=now, still_since=now - since
    )
    where.listening.ordered(Heard(clock=clock, unsent_seconds=0.0, ordered_at=now))


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something."""
    while not holds():  # noqa: ASYNC110  # A lane's thread tells nobody.
        await asyncio.sleep(0.01)


class Lanes:
    """An engine whose tokens' lane is held up until it is let go, so that all sit down before anybody is served.

    Bulk waits for `bulk_wait_seconds` by `clock`. Timers are the system's: who moves the clock rings.
    """

    def __init__(
        self,
        rests: RestLimits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        bulk_wait_seconds: float = 0.05,
    ) -> None:
        self.residency = ResidencyManager(
            [ModuleSpec(name=TOKENS, load=object, home_bytes=10)],
            mover=Mover(memory=FakeModules({}), clock=time.perf_counter, collect=lambda: 0),
            stay_seconds=0.0,
        )
        self.workers = Workers({lane: ThreadPoolExecutor(1) for lane in Lane})
        patience = Patience(hold_seconds=0.5, bulk_wait_seconds=bulk_wait_seconds)
        pace = Pace(figures=ENGLISH, bursts=BurstLimits(patience=patience), rests=rests)
        self.engine = Engine(
            self.residency, self.workers, models={}, restore_timeout_seconds=10, pace=pace, clock=clock
        )
        self.go_on = threading.Event()

    def hold_up(self) -> None:
        """Let nobody be served until `go_on` is set."""
        self.go_on.clear()
        self.workers.submit(Lane.TOKENS, lambda: self.go_on.wait(TIMEOUT_SECONDS))

    def ring(self) -> None:
        """Have the lane look again."""
        self.engine._loops[Lane.TOKENS].ring()

    async def seated(self, count: int) -> None:
        """Wait until so many sit."""
        while len(self.engine._loops[Lane.TOKENS]._seats) < count:  # noqa: ASYNC110  # Nobody tells.
            await asyncio.sleep(0.001)

    async def rested(self) -> None:
        """Wait until the lane has looked at all that rang, and has nothing to do."""
        while self.engine._loops[Lane.TOKENS]._runs:  # noqa: ASYNC110  # The same.
            await asyncio.sleep(0.001)

    async def let_go(self, count: int) -> None:
        """Once so many sit, let them be served."""
        await self.seated(count)
        self.go_on.set()

    async def speak(self, segment: JoinedSegment, where: Place, taker: Taker | None = None) -> None:
        """Have all of a segment's tokens made."""
        while not segment.ended:
            await self.engine.advance(Lane.TOKENS, [segment], taker or Taker(), where)

    def __repr__(self) -> str:
        return f"<Lanes {self.engine!r}>"


@asynccontextmanager
async def lanes(
    rests: RestLimits | None = None, *, clock: Callable[[], float] = time.monotonic, bulk_wait_seconds: float = 0.05
) -> AsyncIterator[Lanes]:
    """Give lanes for a block that must not take for ever."""
    made = Lanes(rests, clock=clock, bulk_wait_seconds=bulk_wait_seconds)
    await asyncio.to_thread(made.residency.start)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield made
    finally:
        made.go_on.set()
        await asyncio.to_thread(made.workers.close)
        await asyncio.to_thread(made.residency.close)
