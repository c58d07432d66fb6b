"""Captured speech whose weights, graphs' memory and pages move between any two steps: the same samples.

The product's own memory for stages, over the driver's fake: memory that was away comes back full of garbage, and what
reads it while it is away reads NaN.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.arena_residency import arena_weights
from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tests.fakes.fake_recorder import FakeRecorder
from tests.fakes.kept_account import KeptAccount
from tests.fakes.tiny_chatterbox import TinyChatterbox, segment_of
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.watermark_catalog import watermark_catalog
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.scratch_space import ScratchModule, ScratchSpace
from tts_service.speech.captured_stages import CapturedStages
from tts_service.speech.resting import Leave
from tts_service.speech.speech_model import MarkStream, Stage, next_stage
from tts_service.stage_memory import stage_memory
from tts_service.types import WATERMARK_ENCODER, ModuleName, Waveform

TEXTS = ("Hello there, who waits in the wings?", "Nobody waits there any more today.")
MOST_BYTES = 1 << 28
ADOPT_FROM_BYTES = 1 << 12


class MovingStage:
    """A model's captured stages over arenas; each step brings what it needs, after some of the rest has left."""

    def __init__(self, tiny: TinyChatterbox, weights: ArenaWeights, spaces: tuple[ScratchSpace, ...]) -> None:
        self.evictions: dict[ModuleName, int] = {}
        self.share = 0.0
        self.leaving = 0.0
        self.departures = 0
        self._tiny = tiny
        self._weights = weights
        self._accounts = {space.name: KeptAccount() for space in spaces}
        self._there: set[ModuleName] = set()
        self._random = random.Random(1)
        for space in spaces:
            space.account = self._accounts[space.name]
        for step in tiny.speech.prepare_steps():
            self.bring(step.modules)
            step.run({name: tiny.modules[name] for name in step.modules})

    def bring(self, needed: frozenset[ModuleName]) -> None:
        """Let some of what may leave do so, and bring these."""
        for name in sorted(self._there):
            account = self._accounts.get(name)
            if self._random.random() < self.share and (account is None or not account.kept):
                self._weights.evict(name)
                self._there.discard(name)
                self.evictions[name] = self.evictions.get(name, 0) + 1
        for name in sorted(needed - self._there):
            self._weights.restore(name, self._tiny.modules[name])
            self._there.add(name)

    def spoken(self) -> Waveform:
        """Speak an utterance of two segments, and mark it as it comes."""
        utterance = self._tiny.speech.utterance(self._tiny.config(seed=3))
        marks, pieces = utterance.marks(), []
        for index, text in enumerate(TEXTS):
            segment = utterance.segment(segment_of(text), index, in_turns=False)
            while (stage := next_stage(segment.stages)) is not None:
                self.bring(stage.modules)
                sound = stage.step({name: self._tiny.modules[name] for name in stage.modules})
                if sound is not None and len(sound):
                    marks.write(sound)
                self._let_leave(segment.stages)
                pieces += self._marked(marks)
        marks.finish()
        return np.concatenate([*pieces, *self._marked(marks)])

    def _let_leave(self, stages: Sequence[Stage]) -> None:
        """Let keys and values leave, as if nobody asked for tokens for a while."""
        for rest in (getattr(each, "rest", None) for each in stages):
            if rest is not None and rest.has_pages and self._random.random() < self.leaving:
                self.bring(rest.modules)
                while rest.leave() is Leave.LATER:
                    pass
                self.departures += rest.is_away

    def _marked(self, marks: MarkStream) -> list[Waveform]:
        found = []
        while marks.ready:
            self.bring(marks.modules)
            block = marks.next_blocks(self._tiny.modules[WATERMARK_ENCODER])
            if block is None:
                break
            found.append(block)
        return found


def moving_stage(tiny_weights: Path, model: ChatterboxModel, driver: FakeCudaDriver) -> MovingStage:
    """Return a model whose stages are captured over the fake driver."""
    weights = arena_weights(driver, adopt_from_bytes=ADOPT_FROM_BYTES)
    memory, spaces = stage_memory(
        weights,
        recorder=FakeRecorder,
        late_recorder=FakeRecorder,
        most_bytes=MOST_BYTES,
        waiting_bytes=1 << 24,
    )
    tiny = TinyChatterbox(tiny_weights, model, stages=CapturedStages(model, memory, slots=2))
    encoder = next(each for each in watermark_catalog(tiny_weights / "cache") if each.name == WATERMARK_ENCODER)
    encoder.install()
    tiny.modules |= {WATERMARK_ENCODER: encoder.load(), **{space.name: ScratchModule(space) for space in spaces}}
    return MovingStage(tiny, weights, spaces)


@pytest.mark.parametrize("model", [ChatterboxModel.ENGLISH, ChatterboxModel.TURBO])
def test_captured_speech_is_the_same_with_moves_between_any_two_steps(
    tmp_path_factory: pytest.TempPathFactory, model: ChatterboxModel
) -> None:
    """Not one marked sample differs: nothing is read that has been away, and pages in use stay."""
    driver = FakeCudaDriver()
    stage = moving_stage(tmp_path_factory.getbasetemp().parent / "tiny-weights", model, driver)
    expected = stage.spoken()
    stage.share = 0.5
    actual = stage.spoken()

    assert len(expected) > 20_000
    assert np.array_equal(expected, actual)
    assert {"t3", "s3gen.flow", "s3gen.vocoder", "watermark.encoder", "scratch.s3gen"} <= stage.evictions.keys()
    assert driver.lost is None


def test_captured_speech_is_the_same_though_keys_and_values_leave_between_any_two_steps(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """T3's scratch memory leaves with its numbers meanwhile; what was on the host comes back to other pages."""
    driver = FakeCudaDriver()
    stage = moving_stage(tmp_path_factory.getbasetemp().parent / "tiny-weights", ChatterboxModel.ENGLISH, driver)
    expected = stage.spoken()
    stage.share, stage.leaving = 0.5, 0.7
    actual = stage.spoken()

    assert np.array_equal(expected, actual)
    assert stage.departures > 3
    assert stage.evictions["scratch.t3"] > 1
    assert driver.lost is None
