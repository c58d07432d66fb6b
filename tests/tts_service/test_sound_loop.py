"""The loop of the sound's lane: what is heard first is made first, and a chunk becomes sound before the next one."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from tests.fakes.device_figures import ENGLISH
from tests.fakes.fake_modules import FakeModules
from tests.fakes.joined_segments import Taker
from tests.fakes.manual_clock import ManualClock
from tests.fakes.session_driver import OFFER
from tts_service.busy_time import BusyTime
from tts_service.engine import Engine
from tts_service.listening import Listening, Place
from tts_service.loops import Pace
from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.speech.playback import PlaybackClock
from tts_service.speech.rendering import Heard
from tts_service.speech.session_config import ConfigRequest, Defaults, Pacing, resolve
from tts_service.speech.speech_model import Lane, Modules
from tts_service.types import VOICE, Priority
from tts_service.workers import Workers

TIMEOUT_SECONDS = 20.0
STEP_SECONDS = 0.03
"""What a decode takes, by the clock of a test."""


class Chunks:
    """So many chunks of one session that wait to be decoded, and those that wait to become sound."""

    lane = Lane.SOUND
    modules = frozenset({VOICE})
    solver_steps = 10

    def __init__(self, name: str, count: int, log: list[str], clock: ManualClock) -> None:
        self.name = name
        self.clock = clock
        self.left = count
        self.decoded = 0
        self.log = log

    @property
    def has_step(self) -> bool:
        """Whether one waits to be decoded."""
        return self.left > 0

    @property
    def ended(self) -> bool:
        """Whether none does."""
        return not self.left

    def step(self, leased: Modules) -> None:
        """Decode one."""
        assert set(leased) == self.modules
        self.log.append(f"decode {self.name}")
        self.clock.advance(STEP_SECONDS)
        self.left -= 1
        self.decoded += 1


class Sounds:
    """What makes sound of them."""

    lane = Lane.SOUND
    modules = frozenset({VOICE})

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks

    @property
    def has_step(self) -> bool:
        """Whether one is decoded."""
        return self._chunks.decoded > 0

    @property
    def ended(self) -> bool:
        """Whether none is left."""
        return not self._chunks.decoded and self._chunks.ended

    def step(self, leased: Modules) -> None:
        """Make its sound."""
        assert set(leased) == self.modules
        self._chunks.log.append(f"sound {self._chunks.name}")
        self._chunks.decoded -= 1


def place(now: float, pacing: Pacing, ahead_seconds: float, priority: Priority = Priority.INTERACTIVE) -> Place:
    """Return a place of somebody who still has so much to hear."""
    listening = Listening(resolve(ConfigRequest(priority=priority), OFFER, Defaults(seed=1, pacing=pacing)), now=now)
    clock = PlaybackClock(sent_seconds=ahead_seconds, as_of=now)
    listening.ordered(Heard(clock=clock, unsent_seconds=0.0, ordered_at=now))
    return Place(listening=listening, ordered_at=now, busy=BusyTime(time.perf_counter))


@asynccontextmanager
async def lane_of_sound(clock: ManualClock) -> AsyncIterator[Engine]:
    """Give an engine with one module for a block that must not take for ever."""
    residency = ResidencyManager(
        [ModuleSpec(name=VOICE, load=object, home_bytes=10)],
        mover=Mover(memory=FakeModules({}), clock=time.perf_counter, collect=lambda: 0),
    )
    workers = Workers({lane: ThreadPoolExecutor(1) for lane in Lane})
    pace = Pace(figures=ENGLISH)
    await asyncio.to_thread(residency.start)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield Engine(residency, workers, models={}, restore_timeout_seconds=10, pace=pace, clock=clock)
    finally:
        await asyncio.to_thread(workers.close)
        await asyncio.to_thread(residency.close)


async def seated(engine: Engine, count: int) -> None:
    """Wait until so many sit in the lane of sound."""
    while len(engine._loops[Lane.SOUND]._seats) < count:  # noqa: ASYNC110  # Nobody tells.
        await asyncio.sleep(0.001)


async def sounded(sessions: Sequence[tuple[str, Place]], clock: ManualClock) -> list[str]:
    """Return in which order two chunks of each session become sound, if all wait before anything is done."""
    log: list[str] = []
    async with lane_of_sound(clock) as engine:
        go_on = threading.Event()
        engine._workers.submit(Lane.SOUND, lambda: go_on.wait(TIMEOUT_SECONDS))
        all_chunks = [Chunks(name, 2, log, clock) for name, _ in sessions]
        serving = [
            asyncio.create_task(engine.advance(Lane.SOUND, [chunks, Sounds(chunks)], Taker(), where))
            for chunks, (_, where) in zip(all_chunks, sessions, strict=True)
        ]
        await seated(engine, len(sessions))
        go_on.set()
        await asyncio.gather(*serving)
    return log


async def test_sound_is_made_in_the_order_in_which_it_is_heard() -> None:
    """Whatever the order in which it was asked for; what nobody listens to comes last."""
    clock = ManualClock()
    log = await sounded(
        [
            ("bulk", place(clock(), Pacing.NONE, 0.0, Priority.BULK)),
            ("later", place(clock(), Pacing.REALTIME, 3.0)),
            ("now", place(clock(), Pacing.REALTIME, 0.0)),
            ("soon", place(clock(), Pacing.REALTIME, 1.0)),
        ],
        clock,
    )
    names = [line.split()[1] for line in log]

    assert ["now", "soon", "later", "bulk"] == list(dict.fromkeys(names))
    assert 16 == len(log)


async def test_chunk_becomes_sound_before_its_session_decodes_the_next() -> None:
    """Alone, decodes and sounds alternate."""
    clock = ManualClock()
    log = await sounded([("one", place(clock(), Pacing.REALTIME, 0.0))], clock)

    assert ["decode one", "sound one"] * 2 == log


class Drawn(Sounds):
    """What makes sound of a whole segment: in many steps, of which the first calls `on_first`."""

    def __init__(self, chunks: Chunks, steps: int, on_first: Callable[[], object]) -> None:
        super().__init__(chunks)
        self._steps = steps
        self._left = 0
        self._on_first = on_first

    def step(self, leased: Modules) -> None:
        """Make a part of its sound."""
        if not self._left:
            self._left = self._steps
            self._on_first()
        self._left -= 1
        self._chunks.log.append(f"part {self._chunks.name}")
        if not self._left:
            super().step(leased)


async def test_bulk_that_becomes_sound_lets_a_listener_go_first_after_one_step() -> None:
    """A whole segment's sound is twenty steps: who comes during the first of them is served after it."""
    clock, log, here = ManualClock(), list[str](), asyncio.Event()
    async with lane_of_sound(clock) as engine:
        loop = asyncio.get_running_loop()
        begun, go_on = threading.Event(), threading.Event()

        def come() -> None:
            loop.call_soon_threadsafe(here.set)
            begun.set()
            go_on.wait(TIMEOUT_SECONDS)

        whole, one = Chunks("whole", 1, log, clock), Chunks("one", 1, log, clock)
        bulk = asyncio.create_task(
            engine.advance(
                Lane.SOUND,
                [whole, Drawn(whole, 20, come)],
                Taker(),
                place(clock(), Pacing.NONE, 0.0, Priority.BULK),
            )
        )
        await here.wait()
        listener = asyncio.create_task(
            engine.advance(Lane.SOUND, [one, Sounds(one)], Taker(), place(clock(), Pacing.REALTIME, 0.0))
        )
        await seated(engine, 2)
        go_on.set()
        await asyncio.gather(bulk, listener)

    assert ["decode whole", "part whole", "decode one", "sound one"] == log[:4]
    assert 20 == log.count("part whole")
