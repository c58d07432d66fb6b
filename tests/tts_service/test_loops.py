"""Sessions that share bursts and a lane of sound: each hears what it hears alone, and what befalls one is its own."""

import asyncio
import gc
import random
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from tests.fakes.paced_stage import CapturedTiny, paced_stage
from tests.fakes.tiny_chatterbox import segment_of
from tests.fakes.tiny_stage import TIMEOUT_SECONDS, Listener
from tts_service.errors import Reason
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.chatterbox_segment import CROWD
from tts_service.speech.chatterbox_tokens import TokenStage
from tts_service.speech.mel_chunks import ChunkSchedule
from tts_service.speech.rendering import AudioFinished, DiscardAudio, RenderFailed
from tts_service.speech.session_config import SessionConfig
from tts_service.speech.speech_model import Lane

SHORT = ChunkSchedule(first_tokens=5, next_tokens=4, growth=1.3, max_tokens=9)
"""Many chunks in few tokens."""
TEXTS = ("Hello there, this is some text.", "And now a second sentence.")
LONG = "and once more from the beginning, " * 9
SLOTS, PAGES = 8, 64


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> CapturedTiny:
    """Return the English model with short chunks."""
    shared: Path = tmp_path_factory.getbasetemp().parent / "tiny-weights"
    tiny = CapturedTiny(shared, ChatterboxModel.ENGLISH, slots=SLOTS, pages=PAGES)
    tiny.speech.schedule = SHORT
    return tiny


def given_back(tiny: CapturedTiny) -> bool:
    """Tell whether nobody holds slots or pages."""
    gc.collect()
    assert tiny.pages is not None
    assert tiny.stages.bursts is not None
    return (SLOTS, PAGES) == (tiny.stages.bursts.free, tiny.pages.free_pages)


async def alone_of(tiny: CapturedTiny, configs: Sequence[SessionConfig]) -> list[bytes]:
    """Return what each of these sessions hears when nobody else is there."""
    heard = []
    for config in configs:
        async with paced_stage(tiny) as (_, (listener,)):
            listener.order("u", config, TEXTS)
            await listener.end_of("u")
            heard.append(listener.audio("u"))
    return heard


async def test_eight_sessions_at_once_hear_what_each_hears_alone(english: CapturedTiny) -> None:
    """Guided and unguided, other seeds and settings: not one sample differs, because no token does."""
    configs = [
        english.config(seed=seed, max_segment_tokens=12 + seed, cfg_weight=0.5 * (seed % 4 != 3)) for seed in range(8)
    ]
    alone = await alone_of(english, configs)
    async with paced_stage(english, listeners=8) as (stage, listeners):
        for listener, config in zip(listeners, configs, strict=True):
            listener.order("u", config, TEXTS)
        ends = await asyncio.gather(*(listener.end_of("u") for listener in listeners))

    assert all(isinstance(end, AudioFinished) for end in ends), ends
    assert 8 == len(set(alone))
    assert max(stage.bursts()) >= 4
    assert alone == [listener.audio("u") for listener in listeners]
    assert given_back(english)


@pytest.mark.parametrize("seed", range(3))
async def test_sessions_that_come_and_go_leave_no_trace_in_each_other(english: CapturedTiny, seed: int) -> None:
    """At random times some begin, some are interrupted and speak again; all slots and pages come back."""
    chance = random.Random(seed)
    configs = [english.config(seed=each, max_segment_tokens=14) for each in range(3)]
    alone = await alone_of(english, configs)
    async with paced_stage(english, listeners=9) as (stage, listeners):

        async def speak(listener: Listener, config: SessionConfig) -> None:
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            if chance.random() < 0.6:
                listener.order("interrupted", config, TEXTS)
                await asyncio.sleep(chance.uniform(0.0, 0.4))
                listener.renderer.submit(DiscardAudio(utterance_id="interrupted"))
            listener.order("u", config, TEXTS)
            end = await listener.end_of("u")
            assert isinstance(end, AudioFinished), end

        await asyncio.gather(*(speak(each, configs[i % 3]) for i, each in enumerate(listeners)))

    assert [alone[i % 3] for i in range(9)] == [listener.audio("u") for listener in listeners]
    assert max(stage.bursts()) > 1
    assert given_back(english)


async def test_segment_without_pages_fails_alone(english: CapturedTiny) -> None:
    """Of three, the one whose text takes more pages than there are is told so; the others are heard whole."""
    configs = [english.config(seed=each, max_segment_tokens=14) for each in range(3)]
    alone = await alone_of(english, [configs[0], configs[2]])
    pages = english.pages
    assert pages is not None
    # Two of 64 positions for each row of a segment; the long text takes five for each.
    kept = pages.take(PAGES - 8)
    async with paced_stage(english, listeners=3) as (_, listeners):
        for listener, config in zip(listeners, configs, strict=True):
            listener.order("u", config, (LONG,) if config is configs[1] else TEXTS)
        ends = await asyncio.gather(*(listener.end_of("u") for listener in listeners))
    pages.give(kept)

    assert [AudioFinished, RenderFailed, AudioFinished] == [type(end) for end in ends]
    assert isinstance(ends[1], RenderFailed)
    assert Reason.DEVICE_MEMORY is ends[1].error.reason
    assert alone == [listeners[0].audio("u"), listeners[2].audio("u")]
    assert given_back(english)


@asynccontextmanager
async def tokens_at_rest(english: CapturedTiny) -> AsyncIterator[tuple[Listener, "asyncio.Task[None]"]]:
    """Give a session whose tokens are as far ahead of its sound as they may be, and the task that carries it out.

    Nobody collects cycles meanwhile.
    """
    async with paced_stage(english, listeners=0) as (stage, _):
        held = threading.Event()
        stage.workers.submit(Lane.SOUND, lambda: held.wait(TIMEOUT_SECONDS))
        listener = Listener(stage)  # type: ignore[arg-type]  # It has an engine, which is all.
        running = asyncio.create_task(listener.renderer.run())
        gc.collect()
        gc.disable()
        try:
            listener.order("u", english.config(max_segment_tokens=60), (LONG,))
            tokens = stage.engine._loops[Lane.TOKENS]
            while taken(english) == 0 or tokens._seats:  # noqa: ASYNC110  # The lane's thread tells nobody.
                await asyncio.sleep(0.005)
            yield listener, running
        finally:
            gc.enable()
            held.set()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def taken(english: CapturedTiny) -> int:
    """Return how many slots segments have."""
    assert english.stages.bursts is not None
    return SLOTS - english.stages.bursts.free


async def released(english: CapturedTiny) -> None:
    """Wait until nobody has a slot."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while taken(english):  # noqa: ASYNC110  # The lane's thread tells nobody.
            await asyncio.sleep(0.005)


async def test_interrupted_segment_leaves_its_slot_while_its_tokens_rest(english: CapturedTiny) -> None:
    """Though it sits in no lane then, and its sound is still being made."""
    async with tokens_at_rest(english) as (listener, _):
        before = taken(english)
        listener.renderer.submit(DiscardAudio(utterance_id="u"))
        await released(english)

    assert 1 == before
    assert given_back(english)


async def test_session_that_vanishes_leaves_its_slot(english: CapturedTiny) -> None:
    """Nobody says a word: its task ends."""
    async with tokens_at_rest(english) as (_, running):
        before = taken(english)
        running.cancel()
        await released(english)

    assert 1 == before
    assert given_back(english)


def test_tokens_of_a_crowd_do_not_rest_for_a_first_sound(english: CapturedTiny) -> None:
    """With three others under way they would be made beside it in any case; with fewer they wait for it."""
    stages = [english.speech.utterance(english.config(seed=seed)).segment(segment_of(LONG), 0) for seed in range(CROWD)]
    goes_on = []
    for segment in stages:
        tokens, mel, _ = segment.stages
        while not mel.has_step:
            tokens.step(english.modules)
        goes_on.append(tokens.has_step)
    for segment in stages:
        segment.cancel()
        cast("TokenStage", segment.stages[0]).close()

    assert [False] * (CROWD - 1) + [True] == goes_on
    assert given_back(english)
