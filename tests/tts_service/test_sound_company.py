"""Sessions whose chunks are decoded and sounded together: each hears what it hears alone, to rounding."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.fakes.paced_stage import FLOW_SHAPES, CapturedTiny, paced_stage
from tests.fakes.tiny_stage import Listener
from tts_service.errors import Reason
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.captured.sound_company import CapturedCompany, PlacedMel
from tts_service.speech.mel import MelState
from tts_service.speech.mel_chunks import ChunkSchedule
from tts_service.speech.rendering import AudioFinished, DiscardAudio, RenderFailed
from tts_service.speech.session_config import SessionConfig

Samples = NDArray[np.float64]
SHORT = ChunkSchedule(first_tokens=5, next_tokens=4, growth=1.3, max_tokens=9)
"""Many chunks in few tokens."""
TEXTS = ("Hello there, this is some text.", "And now a second sentence.")
SLOTS, PAGES = 8, 64
ROUNDING = 0.05
"""Of the energy, in samples of 16 bits: planted vocoders turn the last bit of a phase into a hundredth (seen: 0.011 for
Turbo, 0.007 for English). Another stream's sound, or a chunk that is lost, is off by 1."""


@pytest.fixture(scope="module", params=[ChatterboxModel.ENGLISH, ChatterboxModel.TURBO])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CapturedTiny:
    """Return a model whose sound is made in company, with short chunks."""
    shared: Path = tmp_path_factory.getbasetemp().parent / "tiny-weights"
    made = CapturedTiny(shared, request.param, slots=SLOTS, pages=PAGES, company=True)
    made.speech.schedule = SHORT
    return made


def samples(listener: Listener) -> Samples:
    """Return what a session heard."""
    return np.frombuffer(listener.audio("u"), "<i2").astype(np.float64)


def apart(one: Samples, other: Samples) -> float:
    """Return the energy of the difference over that of the first."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(one)) if len(one) == len(other) else np.inf


async def alone_of(tiny: CapturedTiny, configs: Sequence[SessionConfig]) -> list[Samples]:
    """Return what each of these sessions hears when nobody else is there."""
    heard = []
    for config in configs:
        async with paced_stage(tiny) as (stage, (listener,)):
            listener.order("u", config, TEXTS)
            await listener.end_of("u")
            heard.append(samples(listener))
            assert not stage.together("step"), "one by itself is decoded by the stage for one"
    return heard


def given_back(tiny: CapturedTiny) -> bool:
    """Tell whether no decode has a place, and nothing keeps the memory that they are in."""
    assert tiny.stages.company is not None
    return (FLOW_SHAPES.places, 0) == (tiny.stages.company.free_places, tiny.kept)


async def test_six_sessions_in_company_hear_what_each_hears_alone(
    tiny: CapturedTiny, record_property: Callable[[str, object], None]
) -> None:
    """Decodes, waveforms and marks are shared; what is heard is the same to rounding, which is told."""
    configs = [tiny.config(seed=seed, max_segment_tokens=12 + seed) for seed in range(6)]
    alone = await alone_of(tiny, configs)
    async with paced_stage(tiny, listeners=6) as (stage, listeners):
        for listener, config in zip(listeners, configs, strict=True):
            listener.order("u", config, TEXTS)
        ends = await asyncio.gather(*(listener.end_of("u") for listener in listeners))
    far = max(apart(one, samples(listener)) for one, listener in zip(alone, listeners, strict=True))
    record_property(f"{tiny.model}, energy apart at most", far)

    assert all(isinstance(end, AudioFinished) for end in ends), ends
    assert far < ROUNDING
    assert min(max(stage.together(work)) for work in ("step", "waveform", "marking")) > 1
    assert given_back(tiny)


async def test_reproducible_session_hears_the_same_bytes_in_any_company(tiny: CapturedTiny) -> None:
    """Of five sessions one must have the same bits: it is computed by itself, while the others share."""
    configs = [tiny.config(seed=seed, max_segment_tokens=14) for seed in range(5)]
    configs[2] = replace(configs[2], reproducible=True)
    alone = await alone_of(tiny, configs[2:3])
    async with paced_stage(tiny, listeners=5) as (stage, listeners):
        for listener, config in zip(listeners, configs, strict=True):
            listener.order("u", config, TEXTS)
        await asyncio.gather(*(listener.end_of("u") for listener in listeners))

    assert np.array_equal(alone[0], samples(listeners[2]))
    assert max(stage.together("step")) > 1
    assert max(stage.bursts()) > 1


async def test_damaged_session_fails_by_itself(tiny: CapturedTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose mel is no numbers is told so when it is marked; those beside it hear what each hears alone."""
    configs = [tiny.config(seed=seed, max_segment_tokens=14) for seed in range(4)]
    alone = await alone_of(tiny, configs)
    real, hurt = CapturedCompany.finished, list[int]()

    def damaged(company: CapturedCompany, decode: PlacedMel) -> tuple[MelState, torch.Tensor]:
        """Hurt the session whose decode is the first to be made in company, for good."""
        state, mel = real(company, decode)
        seed = decode.wanted.random._seed  # type: ignore[attr-defined]  # A CounterRandom's.
        hurt.append(seed)
        return state, mel * torch.nan if seed == hurt[0] else mel

    monkeypatch.setattr(CapturedCompany, "finished", damaged)
    async with paced_stage(tiny, listeners=4) as (_, listeners):
        for listener, config in zip(listeners, configs, strict=True):
            listener.order("u", config, TEXTS)
        ends = await asyncio.gather(*(listener.end_of("u") for listener in listeners))
    failed = ends[hurt[0]]
    others = [number for number in range(4) if number != hurt[0]]

    assert isinstance(failed, RenderFailed)
    assert Reason.ENGINE_FAULT is failed.error.reason
    assert max(apart(alone[number], samples(listeners[number])) for number in others) < ROUNDING
    assert given_back(tiny)


@pytest.mark.parametrize("seed", range(2))
async def test_interrupted_decodes_leave_their_places_and_no_trace(tiny: CapturedTiny, seed: int) -> None:
    """At random times some begin, some are interrupted and speak again: all places come back."""
    chance = random.Random(seed)
    configs = [tiny.config(seed=each, max_segment_tokens=14) for each in range(3)]
    alone = await alone_of(tiny, configs)
    async with paced_stage(tiny, listeners=9) as (stage, listeners):

        async def speak(listener: Listener, config: SessionConfig) -> None:
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            if chance.random() < 0.6:
                listener.order("interrupted", config, TEXTS)
                await asyncio.sleep(chance.uniform(0.0, 0.6))
                listener.renderer.submit(DiscardAudio(utterance_id="interrupted"))
            listener.order("u", config, TEXTS)
            end = await listener.end_of("u")
            assert isinstance(end, AudioFinished), end

        await asyncio.gather(*(speak(each, configs[i % 3]) for i, each in enumerate(listeners)))

    assert max(apart(alone[i % 3], samples(listener)) for i, listener in enumerate(listeners)) < ROUNDING
    assert max(stage.together("step")) > 1
    assert given_back(tiny)


@pytest.mark.parametrize("work", ["solve", "sound_all", "next_of_all"])
async def test_lack_of_memory_for_several_has_each_heard_by_itself(
    tiny: CapturedTiny, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """Nobody fails by what only several need, and all places come back."""
    configs = [tiny.config(seed=seed, max_segment_tokens=14) for seed in range(4)]
    alone = await alone_of(tiny, configs)
    lacks = list[str]()

    def lacking(*_: object) -> None:
        lacks.append(work)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(CapturedCompany, work, lacking)
    async with paced_stage(tiny, listeners=4) as (_, listeners):
        for listener, config in zip(listeners, configs, strict=True):
            listener.order("u", config, TEXTS)
        ends = await asyncio.gather(*(listener.end_of("u") for listener in listeners))

    assert lacks
    assert all(isinstance(end, AudioFinished) for end in ends), ends
    assert max(apart(one, samples(listener)) for one, listener in zip(alone, listeners, strict=True)) < ROUNDING
    assert given_back(tiny)
