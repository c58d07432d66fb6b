"""What becomes of engines that do what they should not: each ends as designed, and nothing of it is left."""

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.fakes.hurt import descriptors
from tests.fakes.odd_engine import DIED_AT_ONCE, DIED_LATE, ODDITY
from tests.fakes.own_engine import children, is_there
from tts_service.engine_process import supervisor as supervisors
from tts_service.engine_process import watchdog
from tts_service.engine_process.child import EngineChild, LentDescriptors
from tts_service.engine_process.messages import Begin, Ready
from tts_service.engine_process.remote_speech import RemoteSpeech
from tts_service.engine_process.restarts import RestartLimits
from tts_service.engine_process.supervisor import Supervisor
from tts_service.errors import StartupError

MOST_DEATHS = 5
WINDOW_SECONDS = 300.0
HANG_SECONDS = 1.0


class Ears:
    """Hears what an engine tells of itself, and of its coming and going."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __getattr__(self, name: str) -> Any:
        """Return what takes anything."""
        return lambda *_arguments: None

    async def came(self, ready: Ready) -> None:
        """Note it."""
        del ready
        self.events.append("came")

    async def went(self) -> None:
        """Note it."""
        self.events.append("went")


class Stage:
    """A supervisor whose engines are odd ones. What it would wait between two is noted, and not waited for."""

    def __init__(self) -> None:
        self.ears = Ears()
        self.waits: list[float] = []
        self.children: list[EngineChild] = []
        self.speech = RemoteSpeech(self.ears, retry_seconds=lambda: 1.0, loop=asyncio.get_running_loop())
        self.supervisor = Supervisor(
            self._start,
            self.speech,
            self.ears,
            limits=RestartLimits(most_deaths=MOST_DEATHS, window_seconds=WINDOW_SECONDS),
            hang_seconds=HANG_SECONDS,
            clock=time.monotonic,
            sleep=self._sleep,
        )
        self.running = asyncio.create_task(self.supervisor.run())

    async def _start(self) -> tuple[EngineChild, Begin]:
        with socket.socket() as lock, socket.socket() as shelf:
            lent = LentDescriptors(lock=lock.fileno(), shelf=shelf.fileno())
            child = await EngineChild.started(lent, module="tests.fakes.odd_engine")
        self.children.append(child)
        return child, Begin(config="{}", settings=())

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, or the supervision has ended."""
        async with asyncio.timeout(40):
            while not holds() and not self.running.done():  # noqa: ASYNC110  # Of most of it nobody tells.
                await asyncio.sleep(0.01)

    async def second(self) -> EngineChild:
        """Wait until there is a second engine, and end the supervision; return the first."""
        await self.until(lambda: len(self.children) > 1)
        await self.supervisor.end()
        await asyncio.gather(self.running, return_exceptions=True)
        return self.children[0]


def left() -> tuple[int, set[int]]:
    """Return how many descriptors this process has open, and its children."""
    return descriptors("self"), set(children(os.getpid()))


@pytest.fixture
async def stage(oddity: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """Give one, with engines of one oddity; afterwards nothing of it may be left."""
    monkeypatch.setenv(ODDITY, oddity)
    monkeypatch.setattr(watchdog, "START_FACTOR", 8.0)
    monkeypatch.setattr(supervisors, "END_SECONDS", 1.0)
    # Other tests' garbage may hold descriptors, and be collected in between.
    gc.collect()
    descriptors_before, children_before = left()
    made = Stage()
    yield made
    await made.supervisor.end()
    await asyncio.gather(made.running, return_exceptions=True)
    async with asyncio.timeout(20):
        while True:
            descriptors_now, children_now = left()
            if descriptors_now <= descriptors_before and children_now <= children_before:
                break
            await asyncio.sleep(0.01)
    assert [] == [each.pid for each in made.children if is_there(each.pid)]


@pytest.mark.parametrize("oddity", ["dies at once"])
async def test_engine_that_dies_at_once_again_and_again_ends_the_service(stage: Stage) -> None:
    """Five times within the window, at once and then after doubling waits; then it says so."""
    with pytest.raises(StartupError, match="the engine died 5 times within 300 s"):
        await stage.running

    assert [0.0, 0.5, 1.0, 2.0] == stage.waits
    assert [DIED_AT_ONCE] * MOST_DEATHS == [await each.wait(1) for each in stage.children]
    assert ["went"] * MOST_DEATHS == stage.ears.events


@pytest.mark.parametrize("oddity", ["dies late"])
async def test_engine_that_dies_late_is_replaced_at_once(stage: Stage) -> None:
    """It was there, it has gone, and another one comes."""
    first = await stage.second()

    assert DIED_LATE == await first.wait(1)
    assert ["came", "went"] == stage.ears.events[:2]
    assert stage.waits[0] == 0.0


@pytest.mark.parametrize("oddity", ["never ready"])
async def test_engine_that_never_gets_ready_is_killed(stage: Stage) -> None:
    """It is given more time than one that speaks, and then replaced."""
    first = await stage.second()

    assert -signal.SIGKILL == await first.wait(1)
    assert ["went"] == stage.ears.events[:1]


@pytest.mark.parametrize("oddity", ["stops"])
async def test_engine_that_says_nothing_any_more_is_killed(stage: Stage) -> None:
    """A stopped process neither hears nor ends by itself."""
    first = await stage.second()

    assert -signal.SIGKILL == await first.wait(1)
    assert ["came", "went"] == stage.ears.events[:2]


@pytest.mark.parametrize("oddity", ["never ends a step"])
async def test_engine_with_a_step_that_never_ends_is_killed(stage: Stage) -> None:
    """Though its event loop turns and says so."""
    first = await stage.second()

    assert -signal.SIGKILL == await first.wait(1)


@pytest.mark.parametrize("oddity", ["garbage"])
async def test_engine_that_speaks_nonsense_is_killed(stage: Stage) -> None:
    """After bytes that are no frame nothing it says is worth anything, also while it lives on and reads nothing."""
    first = await stage.second()

    assert -signal.SIGKILL == await first.wait(1)
    assert ["went"] == stage.ears.events[:1]


@pytest.mark.parametrize("oddity", ["closes"])
async def test_engine_that_hangs_up_and_lives_on_is_killed(stage: Stage) -> None:
    """Without a channel it is of no use, and must not hold a device beside the next one."""
    first = await stage.second()

    assert -signal.SIGKILL == await first.wait(1)


@pytest.mark.parametrize("oddity", ["floods"])
async def test_engine_that_floods_holds_nobody_up(stage: Stage) -> None:
    """However much it says, this event loop turns, and it ends in good order when it is told to."""
    await stage.until(lambda: stage.ears.events == ["came"])
    turns = 0
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        await asyncio.sleep(0.005)
        turns += 1
    await stage.supervisor.end()
    await stage.running

    assert turns >= 5
    assert [0] == [await each.wait(1) for each in stage.children]


@pytest.mark.parametrize("oddity", ["deaf"])
async def test_engine_that_does_not_end_when_told_is_killed(stage: Stage) -> None:
    """It is given its time, and ignores signals besides."""
    await stage.until(lambda: stage.ears.events == ["came"])
    os.kill(stage.children[0].pid, signal.SIGTERM)
    await stage.supervisor.end()
    await stage.running

    assert [-signal.SIGKILL] == [await each.wait(1) for each in stage.children]
    assert ["came"] == stage.ears.events


@pytest.mark.parametrize("oddity", ["dies at once"])
async def test_word_to_end_is_heard_between_two_engines(stage: Stage) -> None:
    """However long the wait for the next one would have been."""
    stage.supervisor._sleep = lambda _seconds: asyncio.Event().wait()
    await stage.until(lambda: stage.supervisor.restarts == 1)
    await stage.supervisor.end()
    async with asyncio.timeout(10):
        await stage.running

    assert 1 == len(stage.children)
