"""Stages that have graphs only up to some length: a segment that is to be whole is cut there, and nowhere else."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.tiny_chatterbox import TinyChatterbox
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.scheduling.chunk_plans import STEADY, WHOLE
from tts_service.speech import chatterbox_tokens, mel
from tts_service.speech.captured_stages import REACH
from tts_service.speech.chatterbox_tokens import LAST_TOKENS
from tts_service.speech.mel import HELD_FRAMES, MelState, context_start, decode_mel, fitting_tokens
from tts_service.speech.mel_chunks import chunk_tokens
from tts_service.speech.mel_flow import FRAMES_PER_TOKEN, MelPrompt, mel_frames
from tts_service.speech.random_source import RandomSource
from tts_service.speech.stages import EagerStages, StageReach

TEXT = "Hello there, who waits in the wings, and who has left them for the stage?"
PROMPT_TOKENS = 250


class WatchedStages(EagerStages):
    """Eager stages that know how many frames their decodes had."""

    def __init__(self, reach: StageReach = EagerStages.reach) -> None:
        self.reach = reach
        self.decoded: list[int] = []

    def mel(
        self, flow: object, state: MelState, prompt: MelPrompt, random: RandomSource, *, final: bool
    ) -> tuple[MelState, torch.Tensor]:
        """Decode."""
        seen = len(state.tokens) - context_start(state.frozen_frames)
        self.decoded.append(FRAMES_PER_TOKEN * (len(prompt.tokens) + seen))
        return decode_mel(flow, state, prompt, random, final=final)  # type: ignore[arg-type]  # A network.


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder below which all tests share tiny weights."""
    return tmp_path_factory.getbasetemp().parent / "tiny-weights"


def spoken(shared_folder: Path, model: ChatterboxModel, stages: WatchedStages) -> np.ndarray:
    """Speak a text whole, as far as stages reach."""
    tiny = TinyChatterbox(shared_folder, model, stages=stages)
    tiny.speech.schedule = WHOLE.schedule
    return np.asarray(tiny.spoken(tiny.config(seed=3, max_segment_tokens=90), TEXT))


@pytest.mark.parametrize("model", [ChatterboxModel.ENGLISH, ChatterboxModel.TURBO])
def test_whole_segment_is_decoded_as_far_as_stages_reach(
    shared_folder: Path, model: ChatterboxModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once without a bound; with one in several decodes, none of which is longer."""
    monkeypatch.setattr(mel, "CONTEXT_TOKENS", 4)
    monkeypatch.setattr(chatterbox_tokens, "LEAST_TOKENS", 1)
    free = WatchedStages()
    spoken(shared_folder, model, free)
    most = free.decoded[0] - 2 * 16
    bounded = WatchedStages(StageReach(decode_frames=most))
    spoken(shared_folder, model, bounded)

    assert 1 == len(free.decoded)
    assert len(bounded.decoded) > 1
    assert most >= max(bounded.decoded)


def test_mel_that_becomes_sound_in_parts_sounds_the_same(shared_folder: Path) -> None:
    """Each part is shown what follows it, so that seams are nowhere: equal but for rounding."""
    whole = spoken(shared_folder, ChatterboxModel.ENGLISH, WatchedStages())
    parts = spoken(shared_folder, ChatterboxModel.ENGLISH, WatchedStages(StageReach(sound_frames=40)))

    assert len(whole) == len(parts)
    assert np.linalg.norm(whole - parts) < 0.05 * np.linalg.norm(whole)


def cut(schedule_tokens: Sequence[int], total: int, *, tail: int = 0) -> list[int]:
    """Return where a segment of so many tokens is cut beside a prompt of 10 s, within the reach of graphs."""
    assert REACH.decode_frames is not None
    made, chunks = 0, list[int]()
    while made < total:
        room = fitting_tokens(REACH.decode_frames, PROMPT_TOKENS, made) - LAST_TOKENS - tail
        wanted = schedule_tokens[min(len(chunks), len(schedule_tokens) - 1)]
        chunks.append(min(wanted, room, total - made))
        made += chunks[-1]
    return chunks


@given(total=st.integers(1, 1000))
def test_no_decode_beside_a_prompt_of_10_s_is_longer_than_the_longest_graph(total: int) -> None:
    """Whatever the segment's length, and with what a last chunk brings besides."""
    assert REACH.decode_frames is not None
    begun = 0
    for tokens in cut([1000], total):
        frozen = max(0, mel_frames(begun, final=False) - HELD_FRAMES)
        begun += tokens
        seen = begun + LAST_TOKENS - context_start(frozen)

        assert REACH.decode_frames >= FRAMES_PER_TOKEN * (PROMPT_TOKENS + seen)
        assert tokens >= min(total, 90) or begun == total


def test_chunks_of_interactive_speech_are_cut_by_their_plan_alone() -> None:
    """Beside a prompt of 10 s they are within reach; where all context is decoded again, most of each is."""
    planned, tail = [chunk_tokens(STEADY.schedule, chunk) for chunk in range(3)], STEADY.schedule.tail_tokens
    late = cut(planned, 1_000, tail=tail)[2:-1]

    assert planned == cut(planned, sum(planned), tail=tail)
    assert min(late) >= 0.7 * planned[-1], late
