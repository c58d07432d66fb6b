"""The renderer with a model of two lanes: they overlap, also over a segment's border, and end together."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

import numpy as np
import pytest

from tests.fakes.device_figures import ENGLISH
from tests.fakes.fake_modules import FakeModules
from tests.fakes.fake_watermarker import PlainEncoder
from tests.fakes.laned_speech import PIECE_SAMPLES, TOKENS, LanedSpeech
from tests.fakes.session_driver import OFFER
from tts_service.engine import Engine
from tts_service.errors import CallerError, Reason
from tts_service.loops import Pace
from tts_service.models.module_spec import ModuleSpec
from tts_service.renderer import Renderer
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.speech.rendering import (
    AudioFinished,
    AudioMade,
    DiscardAudio,
    FinishAudio,
    NextWelcome,
    RenderEvent,
    RenderFailed,
    RenderSegment,
    SegmentMade,
)
from tts_service.speech.session_config import ConfigRequest, Defaults, SessionConfig, resolve
from tts_service.speech.speech_model import Lane
from tts_service.types import VOICE, WATERMARK_ENCODER, Segment
from tts_service.workers import Workers

CONFIG: SessionConfig = resolve(ConfigRequest(), OFFER, Defaults(seed=1))
TEXT = Segment(text="Here.", text_start=0, text_end=5)
TIMEOUT_SECONDS = 20.0


class LanedStageSet:
    """An engine over three modules of ten bytes, one renderer, and all that it said."""

    def __init__(self, speech: LanedSpeech, *, workers: int | None, budget_bytes: int | None) -> None:
        self.speech = speech
        self.events: list[RenderEvent] = []
        loads: dict[str, Callable[[], object]] = {TOKENS: object, VOICE: object, WATERMARK_ENCODER: PlainEncoder}
        self.residency = ResidencyManager(
            [ModuleSpec(name=name, load=load, home_bytes=10) for name, load in loads.items()],  # type: ignore[arg-type]  # Names are strings.
            mover=Mover(memory=FakeModules({}), clock=time.perf_counter, collect=lambda: 0),
            budget_bytes=budget_bytes,
            stay_seconds=0.0,
        )
        pace = None if workers else Pace(figures=ENGLISH)
        own = {lane: ThreadPoolExecutor(1) for lane in Lane} if workers is None else {}
        self.workers = Workers.shared(workers) if workers else Workers(own)
        engine = Engine(
            self.residency, self.workers, models={CONFIG.model: speech}, restore_timeout_seconds=10, pace=pace
        )
        self.renderer = Renderer(engine, self.events.append)

    def order(self, index: int, utterance_id: str = "u") -> None:
        """Order a segment."""
        self.renderer.submit(RenderSegment(utterance_id=utterance_id, config=CONFIG, segment=TEXT, index=index))

    def finish(self, utterance_id: str = "u") -> None:
        """Order the end."""
        self.renderer.submit(FinishAudio(utterance_id=utterance_id, config=CONFIG, empty=False))

    async def until(self, *kinds: type[RenderEvent], utterance_id: str = "u", count: int = 1) -> list[RenderEvent]:
        """Wait for so many events of some kinds, and return them."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                found = [e for e in self.events if isinstance(e, kinds) and e.utterance_id == utterance_id]
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.002)

    async def stepped(self, name: str) -> None:
        """Wait for a step."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                if name in self.speech.steps:
                    return
                await asyncio.sleep(0.002)

    def sounds(self, utterance_id: str = "u") -> list[int]:
        """Return the pieces that were heard, in order, by their numbers."""
        data = b"".join(
            e.piece.data
            for e in self.events
            if isinstance(e, AudioMade | AudioFinished) and e.utterance_id == utterance_id
        )
        numbers = np.round(np.frombuffer(data, np.int16) / 32_768 * 64 - 1).astype(int)
        loud = numbers[numbers >= 0]
        return [int(loud[start]) for start in range(0, len(loud), PIECE_SAMPLES)]

    async def freed(self) -> None:
        """Wait until nothing is held: a step of another lane may be under way when one fails."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                if not self.claims():
                    return
                await asyncio.sleep(0.002)

    def claims(self) -> int:
        """Return the claims and leases there are."""
        return sum(module.claims + module.leases for module in self.residency.report().modules)

    def __repr__(self) -> str:
        return f"<LanedStageSet {self.renderer!r}>"


@asynccontextmanager
async def on_stage(
    *counts: int, workers: int | None = 2, budget_bytes: int | None = None
) -> AsyncIterator[tuple[LanedStageSet, LanedSpeech]]:
    """Give a stage whose renderer runs; nothing may have gone wrong in the end.

    Without `workers`, each lane has a thread, and sound is made by the loop that shares it.
    """
    speech = LanedSpeech(*counts)
    set_up = LanedStageSet(speech, workers=workers, budget_bytes=budget_bytes)
    await asyncio.to_thread(set_up.residency.start)
    running = asyncio.create_task(set_up.renderer.run())
    try:
        yield set_up, speech
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await asyncio.to_thread(set_up.workers.close)
        await asyncio.to_thread(set_up.residency.close)
    assert [] == speech.violations
    assert 0 == set_up.claims()


async def spoken(set_up: LanedStageSet, segments: int, utterance_id: str = "u") -> RenderEvent:
    """Speak an utterance as a session orders it: a segment when it is welcome, the end after the last."""
    set_up.order(0, utterance_id)
    for index in range(1, segments):
        await set_up.until(NextWelcome, SegmentMade, RenderFailed, utterance_id=utterance_id, count=index)
        set_up.order(index, utterance_id)
    await set_up.until(SegmentMade, utterance_id=utterance_id, count=segments)
    set_up.finish(utterance_id)
    (end,) = await set_up.until(AudioFinished, RenderFailed, utterance_id=utterance_id)
    return end


@pytest.mark.parametrize("workers", [1, 2, 3, None])
@pytest.mark.parametrize("budget_bytes", [None, 29, 10])
async def test_utterance_is_whole_and_in_order(workers: int | None, budget_bytes: int | None) -> None:
    """However many threads there are, and whatever fits at home, the same is heard."""
    async with on_stage(4, 1, 3, workers=workers, budget_bytes=budget_bytes) as (set_up, speech):
        for index in range(3):
            set_up.order(index)
        set_up.finish()
        await set_up.until(AudioFinished)

    assert [0, 1, 2, 3, 16, 32, 33, 34] == set_up.sounds()
    assert [4, 1, 3] == [e.outcome.speech_tokens for e in set_up.events if isinstance(e, SegmentMade)]
    assert 16 == len(speech.steps)


async def test_tokens_go_on_while_sound_is_made_and_no_further_than_the_bound() -> None:
    """The second piece's tokens come while the first one's sound is held up; then they wait."""
    held, go_on = threading.Event(), threading.Event()
    async with on_stage(5) as (set_up, speech):

        def hold(name: str) -> None:
            if name == "sound 0.0":
                held.set()
                go_on.wait(TIMEOUT_SECONDS)

        speech.on_step = hold
        set_up.order(0)
        await asyncio.to_thread(held.wait, TIMEOUT_SECONDS)
        await set_up.stepped("tokens 0.1")
        await asyncio.sleep(0.05)
        ahead = [name for name in speech.steps if name.startswith("tokens")]
        go_on.set()
        await set_up.until(SegmentMade)

    assert ["tokens 0.0", "tokens 0.1"] == ahead


async def test_next_segment_begins_while_the_last_piece_of_this_one_sounds() -> None:
    """Its tokens are there when its turn comes; it sounds after this one all the same."""
    held, go_on = threading.Event(), threading.Event()
    async with on_stage(2, 2) as (set_up, speech):

        def hold(name: str) -> None:
            if name == "sound 0.1":
                held.set()
                go_on.wait(TIMEOUT_SECONDS)

        speech.on_step = hold
        set_up.order(0)
        await set_up.until(NextWelcome)
        set_up.order(1)
        await asyncio.to_thread(held.wait, TIMEOUT_SECONDS)
        await set_up.stepped("tokens 1.0")
        made_before = any(isinstance(event, SegmentMade) for event in set_up.events)
        go_on.set()
        await set_up.until(SegmentMade, count=2)
        set_up.finish()
        await set_up.until(AudioFinished)

    assert not made_before
    assert [0, 1, 16, 17] == set_up.sounds()


async def test_segments_in_turns_are_not_begun_ahead() -> None:
    """Where modules do not fit together, the next segment waits: its tokens would send away what sounds."""
    async with on_stage(3, 3, budget_bytes=20) as (set_up, speech):
        await spoken(set_up, 2)

    assert not any(isinstance(event, NextWelcome) for event in set_up.events)
    assert [f"{stage} {s}.{n}" for s in (0, 1) for stage in ("tokens", "sound") for n in range(3)] == speech.steps


@pytest.mark.parametrize("place", ["tokens 0.0", "tokens 0.2", "sound 0.0", "sound 0.2", "tokens 1.1", "sound 1.0"])
@pytest.mark.parametrize("workers", [1, 2, None])
async def test_failure_in_either_lane_fails_the_utterance_once(place: str, workers: int | None) -> None:
    """The other lane ends too, nothing is held, what was ordered behind is dropped, and the next one is spoken."""
    async with on_stage(3, 3, workers=workers) as (set_up, speech):

        def refuse(name: str) -> None:
            if name == place:
                raise CallerError(Reason.TEXT_TOO_LONG, "no")

        speech.on_step = refuse
        set_up.order(0)
        set_up.order(1)
        set_up.finish()
        (failed,) = await set_up.until(RenderFailed)
        await set_up.freed()
        steps = len(speech.steps)
        await asyncio.sleep(0.02)
        after = len(speech.steps) - steps
        speech.on_step = lambda _: None
        end = await spoken(set_up, 2, "v")

    assert isinstance(failed, RenderFailed)
    assert (Reason.TEXT_TOO_LONG, 0) == (failed.error.reason, after)
    assert 1 == sum(isinstance(event, RenderFailed) for event in set_up.events)
    assert isinstance(end, AudioFinished)
    assert [0, 1, 2, 16, 17, 18] == set_up.sounds("v")


async def test_failure_of_a_segment_begun_ahead_lets_the_one_before_it_end() -> None:
    """What went wrong early is told when its turn comes: all of the first segment is heard."""
    async with on_stage(2, 2) as (set_up, speech):

        def refuse(name: str) -> None:
            if name == "tokens 1.0":
                raise CallerError(Reason.TEXT_TOO_LONG, "no")

        speech.on_step = refuse
        set_up.order(0)
        set_up.order(1)
        await set_up.until(RenderFailed)

    kinds = [type(event) for event in set_up.events if isinstance(event, SegmentMade | RenderFailed)]
    assert [SegmentMade, RenderFailed] == kinds
    assert [0, 1] == set_up.sounds()


@pytest.mark.parametrize("workers", [1, 2, None])
@pytest.mark.parametrize("budget_bytes", [None, 20, 10])
@pytest.mark.parametrize(
    "place", [f"{stage} {s}.{n}" for stage in ("tokens", "sound") for s in (0, 1) for n in range(3)]
)
async def test_discard_within_any_step_ends_both_lanes(
    place: str, budget_bytes: int | None, workers: int | None
) -> None:
    """No word of the utterance follows, its claims go at once, and the next one is spoken whole."""
    reached, go_on = threading.Event(), threading.Event()
    async with on_stage(3, 3, workers=workers, budget_bytes=budget_bytes) as (set_up, speech):

        def hold(name: str) -> None:
            if name == place:
                reached.set()
                go_on.wait(TIMEOUT_SECONDS)

        speech.on_step = hold
        set_up.order(0)
        set_up.order(1)
        set_up.finish()
        await asyncio.to_thread(reached.wait, TIMEOUT_SECONDS)
        set_up.renderer.submit(DiscardAudio(utterance_id="u"))
        said = len(set_up.events)
        speech.on_step = lambda _: None
        speech.segments.clear()
        go_on.set()
        end = await spoken(set_up, 2, "v")

    assert isinstance(end, AudioFinished)
    assert [0, 1, 2, 16, 17, 18] == set_up.sounds("v")
    assert {"v"} == {event.utterance_id for event in set_up.events[said:]}
