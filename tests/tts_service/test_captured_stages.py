"""Chatterbox's speech from captured stages, run uncaptured on a CPU: what the eager ones say, and what they need."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fakes.tiny_chatterbox import TinyChatterbox
from tts_service.errors import Reason, ServiceError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.t3_network import T3
from tts_service.models.watermark_catalog import watermark_catalog
from tts_service.speech.captured.graphs import EagerGraphs
from tts_service.speech.captured.t3_captured import CapturedT3
from tts_service.speech.captured.token_pages import KeyValuePages, PageShape, TensorPages
from tts_service.speech.captured_stages import CapturedStages, StageMemory
from tts_service.speech.mel import MelState
from tts_service.speech.mel_flow import MelPrompt
from tts_service.speech.random_source import RandomSource
from tts_service.speech.speech_model import Lane
from tts_service.speech.stages import EagerStages
from tts_service.types import WATERMARK_ENCODER, ModuleName

CPU = torch.device("cpu")
TOKEN_SCRATCH, SOUND_SCRATCH = ModuleName("scratch.t3"), ModuleName("scratch.s3gen")
TEXTS = ("Hello there, who waits in the wings?", "Nobody waits there any more today.")
"""Long enough for Multilingual: where planted speech outlasts its text, the guard's sums are 5 but for rounding, and 5
is where it ends an utterance."""


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder below which all tests share tiny weights."""
    return tmp_path_factory.getbasetemp().parent / "tiny-weights"


def stage_memory() -> StageMemory:
    """Return memory of the host."""

    def pages(shape: PageShape, dtype: torch.dtype, segments: int) -> KeyValuePages:
        return TensorPages(shape, pages=segments * 20, dtype=dtype)

    return StageMemory(
        token_graphs=EagerGraphs(CPU),
        sound_graphs=EagerGraphs(CPU),
        pages=pages,
        token_scratch=frozenset({TOKEN_SCRATCH}),
        sound_scratch=frozenset({SOUND_SCRATCH}),
    )


class ShakenStages(EagerStages):
    """Eager stages with rounding errors in the mel."""

    def mel(
        self, flow: Any, state: MelState, prompt: MelPrompt, random: RandomSource, *, final: bool
    ) -> tuple[MelState, torch.Tensor]:
        """Decode, and change the last bits."""
        state, mel = super().mel(flow, state, prompt, random, final=final)
        return state, mel + 5e-7 * torch.randn(mel.shape, generator=torch.Generator().manual_seed(mel.shape[1]))


def prepared(temporary: Path, model: ChatterboxModel) -> TinyChatterbox:
    """Return a model whose stages are captured."""
    stages = CapturedStages(model, stage_memory(), slots=2)
    tiny = TinyChatterbox(temporary, model, stages=stages)
    encoder = next(each for each in watermark_catalog(temporary / "cache") if each.name == WATERMARK_ENCODER)
    encoder.install()
    tiny.modules |= {WATERMARK_ENCODER: encoder.load(), TOKEN_SCRATCH: None, SOUND_SCRATCH: None}
    for step in tiny.speech.prepare_steps():
        step.run({name: tiny.modules[name] for name in step.modules})
    return tiny


@pytest.mark.parametrize("model", ChatterboxModel)
def test_captured_stages_say_what_eager_ones_say(shared_folder: Path, model: ChatterboxModel) -> None:
    """Over two segments of an utterance, in fp32: the same, but for what rounding in the mel does to the sound.

    Planted vocoders turn the last bit of a mel into a phase that is some hundredths off after seconds.
    """
    eager, captured = TinyChatterbox(shared_folder, model), prepared(shared_folder, model)
    shaken = TinyChatterbox(shared_folder, model, stages=ShakenStages())
    expected, found, rounded = (each.spoken(each.config(seed=3), *TEXTS) for each in (eager, captured, shaken))

    assert len(expected) == len(found)
    assert np.abs(expected - found).mean() < 5 * np.abs(expected - rounded).mean()


@pytest.mark.parametrize("model", ChatterboxModel)
def test_captured_sound_of_the_same_mel_is_the_same(shared_folder: Path, model: ChatterboxModel) -> None:
    """With the eager flow's mel, an utterance's samples are equal to 1e-4 of the peak."""
    eager, captured = TinyChatterbox(shared_folder, model), prepared(shared_folder, model)
    stages = captured.speech.stages
    stages.mel = EagerStages().mel  # type: ignore[method-assign]  # One stage of two is looked at.
    expected, found = (each.spoken(each.config(seed=3), *TEXTS) for each in (eager, captured))

    assert np.abs(expected - found).max() < 1e-4 * np.abs(expected).max()


def test_marks_of_captured_stages_name_what_they_need(shared_folder: Path) -> None:
    """The watermark's encoder and the memory of sound are leased for a mark; the stages' own for each of them."""
    tiny = prepared(shared_folder, ChatterboxModel.ENGLISH)
    marks = tiny.speech.utterance(tiny.config()).marks()
    marks.write(torch.zeros(9_600))
    marks.finish()
    marked = marks.next_blocks(tiny.modules[WATERMARK_ENCODER])

    assert {WATERMARK_ENCODER, SOUND_SCRATCH} == marks.modules
    assert marked is not None
    assert 9_600 == len(marked)
    assert {TOKEN_SCRATCH, SOUND_SCRATCH} == set(tiny.speech.modules[3:])


def test_captures_come_in_the_lane_of_their_stage() -> None:
    """Each on the thread that replays it, under a lease on what it reads and on the memory that it takes."""
    steps = CapturedStages(ChatterboxModel.TURBO, stage_memory()).prepare_steps()

    assert [Lane.TOKENS, Lane.SOUND, Lane.SOUND, Lane.SOUND] == [step.lane for step in steps]
    assert all(len(step.modules) == 2 for step in steps)


@pytest.mark.parametrize("model", ChatterboxModel)
def test_rehearsal_reads_a_prompt_and_leaves_nothing(
    shared_folder: Path, model: ChatterboxModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes after the captures that it needs, its tokens are made, and slot and pages are free again."""
    read = list[int]()
    begin = CapturedT3.begin

    def noted(captured: CapturedT3, t3: Any, embeddings: torch.Tensor, **others: Any) -> Any:
        slot = begin(captured, t3, embeddings, **others)
        read.append(slot.index)
        return slot

    monkeypatch.setattr(CapturedT3, "begin", noted)
    tiny = prepared(shared_folder, model)
    bursts = tiny.speech.stages.bursts

    assert 1 == len(read)
    assert bursts is not None
    assert (2, 0) == (bursts.free, bursts.under_way)


def test_rehearsal_fails_where_the_network_computes_no_numbers(shared_folder: Path) -> None:
    """A start tells of damaged weights, not the first caller."""
    tiny = TinyChatterbox(
        shared_folder, ChatterboxModel.ENGLISH, stages=CapturedStages(ChatterboxModel.ENGLISH, stage_memory(), slots=2)
    )
    tiny.modules |= {TOKEN_SCRATCH: None}
    with torch.no_grad():
        tiny.modules[T3].speech_head.weight.fill_(torch.nan)
    capture, rehearse = (step for step in tiny.speech.prepare_steps() if step.lane is Lane.TOKENS)
    capture.run({name: tiny.modules[name] for name in capture.modules})

    with pytest.raises(ServiceError) as caught:
        rehearse.run({name: tiny.modules[name] for name in rehearse.modules})

    assert Reason.ENGINE_FAULT is caught.value.reason
