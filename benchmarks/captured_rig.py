"""Captured speech over arenas without a service: modules, their memory, and who takes it while they are away."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.product_speech import TEXT, GivenVoices, product_config
from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tests.fakes.fake_device import FakeDevice
from tests.fakes.fake_recorder import FakeRecorder
from tests.fakes.kept_account import KeptAccount
from tts_service.machine import weights_for
from tts_service.models.chatterbox.conditionals import read_conditionals
from tts_service.models.chatterbox.layout import CONDITIONALS_FILE
from tts_service.models.chatterbox.loading import ModelWeights
from tts_service.models.chatterbox.t3_network import t3_hyper_parameters
from tts_service.models.chatterbox.text_tokenizers import load_text_tokenizer
from tts_service.models.watermark_catalog import watermark_catalog
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.scratch_space import ScratchModule, ScratchSpace
from tts_service.speech.captured_stages import CapturedStages
from tts_service.speech.chatterbox_speech import ChatterboxSpeech
from tts_service.speech.speech_model import MarkStream, next_stage
from tts_service.speech.stages import Stages
from tts_service.speech.text_tokens import text_vocabulary
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.stage_memory import stage_memory
from tts_service.types import WATERMARK_ENCODER, ModuleName, Segment, Waveform

VOICE: Final = "default"
FAKE_MOST_BYTES: Final = 1 << 28
GARBAGE: Final = 0x7F
"""As float16 and bfloat16 it is NaN or huge: what is left of a neighbour's does not pass for weights."""


class Hog:
    """A neighbour that takes what has been freed, writes garbage there, and goes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.taken_bytes = 0

    def visit(self, byte_count: int) -> None:
        """Take so much, fill it, and give it back to the driver."""
        if self._device.type == "cuda" and byte_count:
            there = torch.full((byte_count,), GARBAGE, dtype=torch.uint8, device=self._device)
            torch.cuda.synchronize(self._device)
            del there
            torch.cuda.empty_cache()
        self.taken_bytes += byte_count

    def __repr__(self) -> str:
        return f"<Hog that has taken {self.taken_bytes >> 20} MiB in all>"


class CapturedRig:
    """A model whose stages are captured over arenas of a device, or over the driver's fake on a CPU."""

    def __init__(self, folder: Path, weights: ModelWeights, device: torch.device, cache: Path) -> None:
        self.cycles = 0
        self.model = weights.layout.model
        self._device = device
        self._hog = Hog(device)
        self._arenas = _arenas(device)
        memory, spaces = self._memory()
        self.stages = CapturedStages(self.model, memory, slots=2)
        self.speech = speech_of(folder, weights, device, self.stages)
        encoder = next(each for each in watermark_catalog(cache) if each.name == WATERMARK_ENCODER)
        encoder.install()
        self.modules: dict[ModuleName, Any] = {name: weights.load(name) for name in spoken_modules(weights)}
        self.modules |= {WATERMARK_ENCODER: encoder.load(), **{each.name: ScratchModule(each) for each in spaces}}
        self._accounts = {space.name: KeptAccount() for space in spaces}
        for space in spaces:
            space.account = self._accounts[space.name]
        self._there: set[ModuleName] = set()
        for step in self.speech.prepare_steps():
            self.bring(step.modules)
            with self._used(step.modules) as leased:
                step.run(leased)

    def bring(self, needed: frozenset[ModuleName]) -> None:
        """Bring modules that are away."""
        for name in sorted(needed - self._there):
            self._arenas.restore(name, self.modules[name])
            self._there.add(name)

    def cycle(self) -> None:
        """Send away what can go, let the neighbour have the memory, and bring all of it back."""
        gone = {name for name in self._there if name not in self._accounts or not self._accounts[name].kept}
        self._hog.visit(sum(self._arenas.evict(name) for name in sorted(gone)))
        self._there -= gone
        self.bring(frozenset(gone))
        self.cycles += 1

    def spoken(self, *, seed: int, tokens: int, cycles_most: int = 0) -> Waveform:
        """Speak and mark TEXT; a cycle comes before every step, until there were so many in all."""
        utterance = self.speech.utterance(product_config(self.model, VOICE, seed, tokens))
        segment = utterance.segment(Segment(text=TEXT, text_start=0, text_end=len(TEXT.encode())), 0, in_turns=False)
        marks = utterance.marks()
        pieces: list[Waveform] = []
        while (stage := next_stage(segment.stages)) is not None:
            self._maybe_cycle(cycles_most)
            self.bring(stage.modules)
            with self._used(stage.modules) as leased:
                sound = stage.step(leased)
                if sound is not None and len(sound):
                    marks.write(sound)
            pieces += self._marked(marks, cycles_most)
        marks.finish()
        return np.concatenate([*pieces, *self._marked(marks, cycles_most)])

    def _marked(self, marks: MarkStream, cycles_most: int) -> Iterator[Waveform]:
        while marks.ready:
            self._maybe_cycle(cycles_most)
            self.bring(marks.modules)
            with self._used(marks.modules) as leased:
                block = marks.next_blocks(leased[WATERMARK_ENCODER])
            if block is None:
                return
            yield block

    def _maybe_cycle(self, most: int) -> None:
        if self.cycles < most:
            self.cycle()

    def _used(self, names: frozenset[ModuleName]) -> "_Use":
        return _Use(self._arenas, {name: self.modules[name] for name in names})

    def _memory(self) -> tuple[Any, tuple[ScratchSpace, ...]]:
        if self._device.type == "cuda":
            return stage_memory(self._arenas)
        return stage_memory(self._arenas, recorder=FakeRecorder, late_recorder=FakeRecorder, most_bytes=FAKE_MOST_BYTES)

    def __repr__(self) -> str:
        return f"<CapturedRig of {self.model} | {self.cycles} cycles | {self._hog!r}>"


class _Use:
    """A lease of one thread."""

    def __init__(self, arenas: ArenaWeights, modules: Mapping[ModuleName, Any]) -> None:
        self._arenas, self._modules = arenas, modules

    def __enter__(self) -> Mapping[ModuleName, Any]:
        self._arenas.begin_work(self._modules.keys())
        return self._modules

    def __exit__(self, *_: object) -> None:
        self._arenas.end_work(self._modules.keys())

    def __repr__(self) -> str:
        return f"<_Use of {', '.join(self._modules)}>"


def speech_of(folder: Path, weights: ModelWeights, device: torch.device, stages: Stages | None) -> ChatterboxSpeech:
    """Return a model's speech with the voice of its folder."""
    content = read_conditionals(folder / CONDITIONALS_FILE)
    voices = GivenVoices({VOICE: VoiceConditionals.from_upstream(content.t3, content.gen)})
    model = weights.layout.model
    return ChatterboxSpeech(
        model,
        voices=voices,
        tokenizer=load_text_tokenizer(folder, model),
        vocabulary=text_vocabulary(t3_hyper_parameters(model, weights.size), model),
        device=device,
        stages=stages,
    )


def spoken_modules(weights: ModelWeights) -> tuple[ModuleName, ...]:
    """Return what speech needs of a model's modules."""
    return tuple(name for name in weights.modules if name in {"t3", "s3gen.flow", "s3gen.vocoder"})


def _arenas(device: torch.device) -> ArenaWeights:
    if device.type == "cuda":
        arenas = weights_for(device)
        assert isinstance(arenas, ArenaWeights), "this device cannot map memory to addresses"
        return arenas
    return ArenaWeights(FakeCudaDriver(), FakeDevice(), gate=CaptureGate())
