"""Modules that grow at home: colder ones make room for pages, claimed ones stay, and nobody else gets that room."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from typing import cast

import pytest
import torch
from structlog.testing import capture_logs

from tests.fakes.fake_recorder import FakeRecorder
from tests.fakes.served_arenas import PAGE, SCRATCH, Served
from tts_service.abandonment import StepAbandonedError
from tts_service.engine import Engine
from tts_service.errors import Reason, ServiceError, StartupError
from tts_service.residency.graph_memory import ArenaGraphs
from tts_service.residency.growth import RoomWantedError
from tts_service.residency.page_arena import PageArena
from tts_service.residency.pauses import PAUSE_SECONDS
from tts_service.residency.types import Directive, Placement, Tier
from tts_service.speech.speech_model import Lane, Modules, PrepareStep, SpeechModel
from tts_service.types import ModuleName
from tts_service.workers import Workers

A, B, C, D = (ModuleName(name) for name in "abcd")
ALL_BYTES = Served().manager.report().home_bytes
TIMEOUT_SECONDS = 20.0


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep events out of the way."""
    with capture_logs():
        yield


def _full() -> Served:
    """Return one whose budget holds everything and one page; the scratch space is at home with it."""
    served = Served(budget_bytes=ALL_BYTES + PAGE)
    served.bring(SCRATCH)
    return served


def _refused(served: Served, count: int) -> RoomWantedError:
    with served.manager.lease({SCRATCH}, timeout_seconds=0), pytest.raises(RoomWantedError) as refused:
        served.pages.take(count)
    return refused.value


def _taken(served: Served, count: int) -> list[int]:
    with served.manager.lease({SCRATCH}, timeout_seconds=0):
        return served.pages.take(count)


def _at_home(served: Served) -> set[str]:
    return {each.module for each in served.manager.report().modules if each.tier is Tier.DEVICE}


def test_pages_beyond_the_budget_send_the_coldest_idle_module_away() -> None:
    """What was used last, and what an utterance claims, stays; no more leaves than is needed."""
    served = _full()
    with served.manager.lease({B, C, D}, timeout_seconds=0):
        pass
    with served.manager.claim({A}), served.manager.make_room(_refused(served, 3)) as room:
        early = room.ready.done()
        served.manager.make_moves()
        room.ready.result(0)
        pages = _taken(served, 3)

    assert (False, 3) == (early, len(pages))
    assert {A, B, C, SCRATCH} == _at_home(served)
    assert served.manager.report().home_bytes == served.driver.physical_bytes <= ALL_BYTES + PAGE


def test_room_that_only_claimed_modules_could_make_is_refused_at_once() -> None:
    """The next stage of the same utterance may be among them: each would wait for the other's memory."""
    served = _full()
    wanted = _refused(served, 3)
    with served.manager.claim({A, B, C, D}), pytest.raises(RoomWantedError) as refused:
        served.manager.make_room(wanted)

    assert (wanted, Reason.DEVICE_MEMORY, {"needed_bytes": str(2 * PAGE)}) == (
        refused.value,
        wanted.reason,
        wanted.metadata,
    )
    assert {A, B, C, D, SCRATCH} == _at_home(served)


def test_what_is_claimed_for_another_turn_makes_room() -> None:
    """Where stages take turns, the next turn's modules leave once more; the present one's stay."""
    served = _full()
    wanted = _refused(served, 3)
    wanted.dispensable = frozenset({C, D})
    with served.manager.claim({A, B, C, D}), served.manager.make_room(wanted) as room:
        served.manager.make_moves()
        room.ready.result(0)
        pages = _taken(served, 3)

    assert 3 == len(pages)
    assert {A, B, SCRATCH} <= _at_home(served) < {A, B, C, D, SCRATCH}


def test_room_that_is_kept_is_nobody_elses() -> None:
    """What a directive wants at home does not come into it, and is there when it has been released."""
    served = _full()
    with served.manager.claim({A, B, C}):
        room = served.manager.make_room(_refused(served, 3))
        served.manager.make_moves()
        wish = Placement(module=D, tier=Tier.DEVICE)
        served.manager.set_directive(Directive(epoch=1, version=1, valid_for_seconds=60, placements=(wish,)))
        served.settle(seconds=0.0)
        without = _at_home(served)
        room.release()
        room.release()
        served.settle(seconds=PAUSE_SECONDS)

    assert ({A, B, C, SCRATCH}, {A, B, C, D, SCRATCH}) == (without, _at_home(served))


def test_room_is_refused_when_the_budget_shrinks_under_it() -> None:
    """Who waits is told at once, and keeps nothing from leaving."""
    served = _full()
    with served.manager.make_room(_refused(served, 3)) as room:
        served.manager.set_directive(Directive(epoch=1, version=1, valid_for_seconds=60, budget_bytes=0))
        error = room.ready.exception(0)
    served.settle()

    assert isinstance(error, ServiceError)
    assert (Reason.DEVICE_MEMORY, set()) == (error.reason, _at_home(served))


def test_room_that_does_not_come_in_time_is_refused_for_memory() -> None:
    """A move that hangs holds nobody up for ever."""
    served = _full()
    with served.manager.make_room(_refused(served, 3)) as room:
        served.clock.advance(31.0)
        served.manager.set_activity(sessions=1, queued=0)
        error = room.ready.exception(0)

    assert isinstance(error, ServiceError)
    assert Reason.DEVICE_MEMORY == error.reason


def test_pages_that_the_device_has_no_memory_for_send_an_idle_module_away() -> None:
    """The budget would hold them; another process has the memory. Once the module has left, they are there."""
    served = Served()
    served.bring(SCRATCH)
    served.driver.capacity_bytes = served.driver.physical_bytes
    wanted = _refused(served, 2)
    with served.manager.make_room(wanted) as room:
        served.manager.make_moves()
        room.ready.result(0)
        pages = _taken(served, 2)

    assert (True, PAGE, 2) == (wanted.is_short, wanted.byte_count, len(pages))
    assert {A, B, C, SCRATCH} == _at_home(served)


class PagesStage:
    """Takes pages, a page a step, under a lease on the scratch space alone."""

    lane = Lane.TOKENS
    modules = frozenset({SCRATCH})

    def __init__(self, served: Served, count: int) -> None:
        self.pages: list[int] = []
        self._served = served
        self._count = count

    @property
    def ended(self) -> bool:
        """Whether all are taken."""
        return len(self.pages) >= self._count

    @property
    def has_step(self) -> bool:
        """Whether one lacks."""
        return not self.ended

    def step(self, leased: Modules) -> None:
        """Take the next."""
        del leased
        self.pages += self._served.pages.take(1)


class Watch:
    """Takes steps, and keeps what ends waits."""

    def __init__(self) -> None:
        self.stops: list[object] = []
        self.waits = asyncio.Event()

    def on_restore(self, module: ModuleName, expected_seconds: float | None) -> None:
        """Hear of a restore."""

    def on_wait(self, stop: object) -> None:
        """Keep it."""
        self.stops.append(stop)
        self.waits.set()

    def take(self, stage: PagesStage, leased: Modules) -> None:
        """Take a step."""
        stage.step(leased)


def _engine(served: Served, workers: Workers) -> Engine:
    return Engine(served.manager, workers, models={}, restore_timeout_seconds=TIMEOUT_SECONDS)


@asynccontextmanager
async def _working(served: Served) -> AsyncIterator[Workers]:
    """Give a worker, while another thread makes moves."""
    workers, over = Workers.shared(1), threading.Event()

    def move() -> None:
        while not over.wait(0.001):
            served.manager.make_moves()

    mover = asyncio.create_task(asyncio.to_thread(move))
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield workers
    finally:
        over.set()
        await mover
        workers.close()


async def _spoken(served: Served, stage: PagesStage) -> None:
    """Take all of a stage's steps."""
    async with _working(served) as workers:
        while not stage.ended:
            await _engine(served, workers).advance(Lane.TOKENS, [stage], Watch())


async def test_engine_makes_a_step_again_once_there_is_room_for_it() -> None:
    """Step after step: the speech is whole, and modules have made room that nobody had an interest in."""
    served = _full()
    stage = PagesStage(served, 6)
    await _spoken(served, stage)

    assert (6, True) == (len(set(stage.pages)), SCRATCH in _at_home(served))
    assert served.manager.report().home_bytes == served.driver.physical_bytes <= ALL_BYTES + PAGE


async def test_engine_fails_a_step_that_finds_no_room_with_a_typed_error() -> None:
    """What it has taken it keeps; nothing waits until the deadline."""
    served = _full()
    stage = PagesStage(served, 6)
    with served.manager.claim({A, B, C, D}), pytest.raises(RoomWantedError) as refused:
        await _spoken(served, stage)

    assert (Reason.DEVICE_MEMORY, 1) == (refused.value.reason, len(stage.pages))


class Preparing:
    """A model that captures nothing, in a step that wants pages of its own, and then buffers."""

    modules = (SCRATCH,)
    step_modules = (frozenset({SCRATCH}),)

    def __init__(self, served: Served, *, pages: int) -> None:
        self.begun = 0
        self.buffer: torch.Tensor | None = None
        self._served = served
        self._pages = pages
        self._made: PageArena | None = None

    def prepare_steps(self) -> Sequence[PrepareStep]:
        """Return the step."""
        return (PrepareStep(name="capturing", lane=Lane.TOKENS, modules=frozenset({SCRATCH}), run=self._run),)

    def _run(self, leased: Modules) -> None:
        del leased
        self.begun += 1
        space, count = self._served.space, self._pages
        if self._made is None:
            self._made = PageArena(space, (16, 64), dtype=torch.float32, pages=count, ready_pages=count)
        graphs = ArenaGraphs(space, most_bytes=64 * PAGE, recorder=FakeRecorder)
        self.buffer = graphs.buffer(PAGE, dtype=torch.uint8)


async def _prepared(served: Served, model: Preparing) -> None:
    """Do what a service does before it is ready."""
    async with _working(served) as workers:
        engine = Engine(
            served.manager, workers, models={"a": cast("SpeechModel", model)}, restore_timeout_seconds=TIMEOUT_SECONDS
        )
        await asyncio.to_thread(engine.prepare, lambda _name: None)


async def test_room_is_made_for_what_is_captured_before_the_first_utterance() -> None:
    """The budget holds the stage, but not beside all others: they leave, and the step begins anew."""
    served = _full()
    model = Preparing(served, pages=3)
    await _prepared(served, model)
    report = served.manager.report()

    assert model.buffer is not None
    assert (True, SCRATCH in _at_home(served)) == (model.begun > 1, True)
    assert report.home_bytes == served.driver.physical_bytes <= ALL_BYTES + PAGE


async def test_stage_that_no_budget_holds_is_refused_at_the_start_with_what_it_takes() -> None:
    """Not even all others make enough room; nothing is left of the attempt."""
    served = _full()
    message = "capturing: scratch.a needs 409,600 bytes more on the device, which the budget does not hold"
    with pytest.raises(StartupError, match=message):
        await _prepared(served, Preparing(served, pages=100))

    assert served.manager.report().home_bytes == served.driver.physical_bytes


async def test_engine_lets_modules_of_other_turns_make_room() -> None:
    """A claim for the whole utterance does not keep what only its next turn needs."""
    served = _full()
    stage = PagesStage(served, 6)
    async with _working(served) as workers:
        engine = _engine(served, workers)
        async with engine.turn(frozenset({SCRATCH, A}), on_wait=lambda _stop: None):
            with served.manager.claim({A, B, C, D}):
                while not stage.ended:
                    await engine.advance(Lane.TOKENS, [stage], Watch())
                at_home = _at_home(served)

    assert 6 == len(set(stage.pages))
    assert {A, SCRATCH} <= at_home < {A, B, C, D, SCRATCH}


async def test_step_whose_speech_is_cancelled_while_room_is_made_keeps_none() -> None:
    """The wait ends at once, and the room is free for others."""
    served = _full()
    stage, watch, workers = PagesStage(served, 2), Watch(), Workers.shared(1)
    _taken(served, 1)
    waiting = asyncio.create_task(_engine(served, workers).advance(Lane.TOKENS, [stage], watch))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await watch.waits.wait()
    watch.stops[0]()  # type: ignore[operator]  # It ends the wait.
    with pytest.raises((StepAbandonedError, CancelledError)):
        await waiting
    workers.close()

    assert () == served.manager._guard._register.situation.growths
