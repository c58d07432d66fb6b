"""Captured T3 on a GPU whose slots leave for the host: the same tokens, whatever had their pages meanwhile."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.fakes.captured_t3 import left, request, spoken, stream_of
from tests.fakes.tiny_t3 import STOP, tiny_t3
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.running_form import RunningForm, packed
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.device_weights import device_weights
from tts_service.residency.graph_memory import ArenaGraphs
from tts_service.residency.locked_pages import LockedPages
from tts_service.residency.page_arena import PageArena
from tts_service.residency.scratch_space import ScratchModule, ScratchSpace
from tts_service.speech.captured.t3_captured import CapturedT3
from tts_service.speech.captured.t3_passes import Buckets
from tts_service.speech.captured.t3_ways import FEW_LINES, kernel_ways
from tts_service.speech.captured.token_pages import PageShape
from tts_service.speech.resting import Leave
from tts_service.types import ModuleName

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"),
]

NAME = ModuleName("scratch.t3")
PAGES = 24


@pytest.fixture
def weights() -> Iterator[ArenaWeights]:
    """Return arenas on the first GPU, which are closed in the end."""
    weights = device_weights(torch.device("cuda", 0), gate=CaptureGate())
    assert isinstance(weights, ArenaWeights)
    yield weights
    torch.cuda.synchronize()
    weights.close()


class Staged:
    """Captured T3 over a space that leaves whenever no slot has pages in it."""

    def __init__(self, weights: ArenaWeights, model: ChatterboxModel, **planted: Any) -> None:
        gpu = torch.device("cuda", 0)
        self.t3: Any = packed(tiny_t3(model, **planted).to(gpu), RunningForm())
        self.weights = weights
        self.space: ScratchSpace = weights.space(NAME)
        weights.restore(NAME, ScratchModule(self.space))
        shape = PageShape.of(self.t3)
        self.pages = PageArena(self.space, shape.dimensions, dtype=torch.float32, pages=PAGES, ready_pages=2)
        self.room = LockedPages(
            self.space.driver,
            self.space.gate,
            shape.dimensions,
            dtype=torch.float32,
            most_bytes=PAGES * shape.contents_bytes(torch.float32),
        )
        self.space.waiting = self.room
        prompts = (416,) if model is ChatterboxModel.TURBO else (64,)
        self.captured = CapturedT3(
            model=model,
            t3=self.t3,
            graphs=ArenaGraphs(self.space, most_bytes=1 << 30),
            pages=self.pages,
            buckets=replace(Buckets.of(model, 2), prompts=prompts),
            ways=kernel_ways(model, FEW_LINES),
            room=self.room,
        )
        self.captured.capture(self.t3)

    def spoil(self, seed: int) -> None:
        """Let others have the space's memory, and then the pages."""
        torch.cuda.current_stream().synchronize()
        self.weights.evict(NAME)
        neighbour = self.weights.scratch(f"neighbour {seed}", 256 << 20)
        neighbour.bring()
        with neighbour.using():
            neighbour.tensor(neighbour.byte_count, dtype=torch.uint8).fill_(0xFF)
        neighbour.give_back()
        self.weights.restore(NAME, ScratchModule(self.space))
        taken = self.pages.take(1 + seed % 3)
        self.pages.tensor[taken] = torch.nan
        self.pages.give(taken)

    def __repr__(self) -> str:
        return f"<Staged {self.captured!r}>"


@pytest.mark.parametrize("model", list(ChatterboxModel))
def test_tokens_are_the_same_though_their_memory_is_others_between_any_two_bursts(
    weights: ArenaWeights, model: ChatterboxModel
) -> None:
    """Keys, values and numbers come back to other pages, and to memory that was full of NaN meanwhile."""
    staged = Staged(weights, model, bias={STOP: -50.0})
    asked = request(model, max_segment_tokens=90)
    expected, stream = stream_of(asked, staged.captured), stream_of(asked, staged.captured)
    spoken(expected, staged.t3)
    departures = 0
    while stream.finish is None:
        stream.advance(staged.t3, 8)
        if stream.finish is None:
            assert Leave.LEFT is left(stream)
            departures += 1
            staged.spoil(len(stream.history))

    assert expected.history == stream.history
    assert 4 < departures == staged.room.usage().departures
    assert (PAGES, 0) == (staged.pages.free_pages, staged.room.usage().segments)


def test_page_that_was_just_given_back_is_not_overwritten_before_its_copy(weights: ArenaWeights) -> None:
    """A neighbour takes and fills all pages at once, with nobody waiting for anything."""
    staged = Staged(weights, ChatterboxModel.ENGLISH, bias={STOP: -50.0})
    asked = request(ChatterboxModel.ENGLISH, max_segment_tokens=90)
    expected, stream = stream_of(asked, staged.captured), stream_of(asked, staged.captured)
    spoken(expected, staged.t3)
    while stream.finish is None:
        stream.advance(staged.t3, 8)
        if stream.finish is None:
            left(stream)
            taken = staged.pages.take(staged.pages.free_pages)
            staged.pages.tensor[taken] = torch.nan
            staged.pages.give(taken)

    assert expected.history == stream.history
