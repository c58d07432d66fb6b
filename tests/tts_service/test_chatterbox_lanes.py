"""Chatterbox's lanes in any order: whoever waits for whom, the samples are the same."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.tiny_chatterbox import TinyChatterbox, segment_of
from tests.fakes.tiny_stage import tiny_stage
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.t3_network import T3
from tts_service.speech.chatterbox_segment import CHUNKS_WAITING, ChatterboxSegment
from tts_service.speech.mel_chunks import ChunkSchedule
from tts_service.speech.rendering import AudioFinished
from tts_service.speech.speech_model import Lane, all_ended, next_stage
from tts_service.types import Waveform

TEXTS = ("Hello there, this is some text.", "And now a second sentence, longer than the first.")
SHORT = ChunkSchedule(first_tokens=5, next_tokens=4, growth=1.3, max_tokens=9)
"""Many chunks in few tokens."""


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> TinyChatterbox:
    """Return the English model with short chunks."""
    shared: Path = tmp_path_factory.getbasetemp().parent / "tiny-weights"
    chatterbox = TinyChatterbox(shared, ChatterboxModel.ENGLISH)
    chatterbox.speech.schedule = SHORT
    return chatterbox


@pytest.fixture(scope="module")
def expected(english: TinyChatterbox) -> list[Waveform]:
    """Return what each segment sounds like when every step comes as late as can be."""
    utterance = english.speech.utterance(english.config(max_segment_tokens=30))
    return [np.concatenate(list(english.steps(utterance.segment(segment_of(text), i)))) for i, text in enumerate(TEXTS)]


class Lanes:
    """Two segments whose lanes are stepped by hand, as the renderer would."""

    def __init__(self, chatterbox: TinyChatterbox, *, in_turns: bool) -> None:
        utterance = chatterbox.speech.utterance(chatterbox.config(max_segment_tokens=30))
        self.segments: list[ChatterboxSegment] = [
            utterance.segment(segment_of(text), i, in_turns=in_turns) for i, text in enumerate(TEXTS)
        ]
        self.waves: list[list[Waveform]] = [[] for _ in TEXTS]
        self.most_waiting = 0
        self._chatterbox = chatterbox
        self._in_turns = in_turns

    def steps(self) -> dict[Lane, Callable[[], None]]:
        """Return the lanes' next steps, as many lanes as have one."""
        sounding = next((i for i, each in enumerate(self.segments) if not all_ended(each.stages)), None)
        if sounding is None:
            return {}
        speaking = sounding
        if self.segments[sounding].welcomes_next and sounding + 1 < len(self.segments):
            speaking = sounding + 1
        found = {Lane.TOKENS: self._step(speaking, Lane.TOKENS), Lane.SOUND: self._step(sounding, Lane.SOUND)}
        return {lane: step for lane, step in found.items() if step is not None}

    def _step(self, index: int, lane: Lane) -> Callable[[], None] | None:
        stage = next_stage([stage for stage in self.segments[index].stages if stage.lane is lane])
        if stage is None:
            return None

        def take() -> None:
            sound = stage.step({name: self._chatterbox.modules[name] for name in stage.modules})
            if sound is not None:
                self.waves[index].append(np.asarray(sound))
            waiting = len(self.segments[index]._tokens.chunks)
            self.most_waiting = max(self.most_waiting, waiting)

        return take

    def __repr__(self) -> str:
        return f"<Lanes {self.segments}>"


@given(choices=st.lists(st.sampled_from(Lane), max_size=80), in_turns=st.booleans(), rest=st.sampled_from(Lane))
@settings(max_examples=15, deadline=None)
def test_samples_are_the_same_whatever_lane_goes_first(
    english: TinyChatterbox,
    expected: Sequence[Waveform],
    choices: list[Lane],
    in_turns: bool,  # noqa: FBT001  # A drawn value.
    rest: Lane,
) -> None:
    """Any schedule of the lanes' steps gives the same samples, and tokens never run ahead too far."""
    lanes, schedule = Lanes(english, in_turns=in_turns), iter(choices)
    while steps := lanes.steps():
        steps.get(next(schedule, rest), next(iter(steps.values())))()

    assert all(np.array_equal(wave, np.concatenate(own)) for wave, own in zip(expected, lanes.waves, strict=True))
    assert in_turns or lanes.most_waiting <= CHUNKS_WAITING


async def test_ten_sessions_interleaved_are_each_as_if_alone(english: TinyChatterbox) -> None:
    """Lanes of ten sessions on three threads leave no trace in each other's audio."""
    configs = [english.config(seed=seed % 3, max_segment_tokens=12) for seed in range(10)]
    alone = []
    for config in configs[:3]:
        async with tiny_stage(english) as (_, (listener,)):
            listener.order("u", config, TEXTS)
            await listener.end_of("u")
            alone.append(listener.audio("u"))
    async with tiny_stage(english, workers=3, listeners=10) as (_, listeners):
        for listener, config in zip(listeners, configs, strict=True):
            listener.order("u", config, TEXTS)
        ends = await asyncio.gather(*(listener.end_of("u") for listener in listeners))

    assert all(isinstance(end, AudioFinished) for end in ends)
    assert 3 == len(set(alone))
    assert [alone[i % 3] for i in range(10)] == [listener.audio("u") for listener in listeners]


async def test_audio_is_the_same_while_an_operator_sends_modules_away(english: TinyChatterbox) -> None:
    """A module that is sent away whenever it is there comes back for every step, and nothing is heard of it."""
    config = english.config(max_segment_tokens=20)
    async with tiny_stage(english) as (_, (listener,)):
        listener.order("u", config, TEXTS)
        await listener.end_of("u")
    still = listener.audio("u")
    async with tiny_stage(english, budget_bytes=None) as (stage, (listener,)):
        before = stage.loads()[T3]
        sending = asyncio.create_task(asyncio.to_thread(stage.send_away, list(stage.residency.modules)))
        listener.order("u", config, TEXTS)
        end = await listener.end_of("u")
        stage.at_rest.set()
        await sending
        moved = stage.loads()[T3] - before

    assert isinstance(end, AudioFinished)
    assert moved > 1
    assert still == listener.audio("u")
