"""Captured speech of a tiny model behind the loops that share lanes, on a CPU: a thread for each lane, as on a GPU."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import torch

from tests.fakes.device_figures import ENGLISH, TURBO
from tests.fakes.tiny_chatterbox import TinyChatterbox
from tests.fakes.tiny_stage import TIMEOUT_SECONDS, Listener, end_stage
from tts_service.engine import Engine
from tts_service.loops import Pace
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.module_spec import ModuleSpec
from tts_service.models.watermark_catalog import watermark_catalog
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.residency.process_memory import ProcessMemory
from tts_service.spans import SpanLog
from tts_service.speech.captured.flow_shapes import FlowShapes
from tts_service.speech.captured.graphs import EagerGraphs
from tts_service.speech.captured.sound_company import CompanyMemory
from tts_service.speech.captured.token_pages import KeyValuePages, PageShape, TensorPages
from tts_service.speech.captured.vocoder_shapes import WindowShape
from tts_service.speech.captured_stages import CapturedStages, StageMemory
from tts_service.speech.speech_model import Lane
from tts_service.types import WATERMARK_ENCODER, ModuleName
from tts_service.workers import Workers

CPU = torch.device("cpu")
TOKEN_SCRATCH, SOUND_SCRATCH = ModuleName("scratch.t3"), ModuleName("scratch.s3gen")
COMPANY_SCRATCH = ModuleName("scratch.company")
FLOW_SHAPES = FlowShapes(places=6, lone_frames=(160, 320), shared_frames=(160, 320), streams=(2, 4), lone_steps=False)
WINDOWS = (WindowShape(4, 96), WindowShape(2, 96))


class CapturedTiny(TinyChatterbox):
    """A tiny model whose stages are captured; `pages` are its keys' and values', once it is.

    With `company`, sound of several segments is made at once; `kept` is how many decodes have a place.
    """

    def __init__(
        self, temporary: Path, model: ChatterboxModel, *, slots: int, pages: int, company: bool = False
    ) -> None:
        self.pages: TensorPages | None = None
        self.kept = 0
        self._page_count = pages
        memory = StageMemory(
            token_graphs=EagerGraphs(CPU),
            sound_graphs=EagerGraphs(CPU),
            pages=self._make_pages,
            token_scratch=frozenset({TOKEN_SCRATCH}),
            sound_scratch=frozenset({SOUND_SCRATCH}),
            company=self._company_memory() if company else None,
        )
        self.stages = CapturedStages(model, memory, slots=slots)
        super().__init__(temporary, model, stages=self.stages)
        encoder = next(each for each in watermark_catalog(temporary / "cache") if each.name == WATERMARK_ENCODER)
        encoder.install()
        self.modules |= {WATERMARK_ENCODER: encoder.load()}
        self.modules |= {name: object() for name in (TOKEN_SCRATCH, SOUND_SCRATCH, COMPANY_SCRATCH)}
        for step in self.speech.prepare_steps():
            step.run({name: self.modules[name] for name in step.modules})

    def _company_memory(self) -> CompanyMemory:
        def keep(count: int) -> None:
            self.kept += count

        return CompanyMemory(
            graphs=EagerGraphs(CPU),
            scratch=frozenset({COMPANY_SCRATCH}),
            keep=keep,
            shapes=FLOW_SHAPES,
            windows=WINDOWS,
        )

    def _make_pages(self, shape: PageShape, dtype: torch.dtype, segments: int) -> KeyValuePages:
        del segments
        self.pages = TensorPages(shape, pages=self._page_count, dtype=dtype)
        return self.pages


class PacedStage:
    """An engine with loops over a captured model, whose modules stay where they are."""

    def __init__(self, tiny: CapturedTiny) -> None:
        self.residency = ResidencyManager(
            [self._spec(tiny, name) for name in (*tiny.speech.modules, WATERMARK_ENCODER, COMPANY_SCRATCH)],
            mover=Mover(memory=ProcessMemory(), clock=time.perf_counter, collect=lambda: 0),
            stay_seconds=0.0,
        )
        self.workers = Workers({lane: ThreadPoolExecutor(1, thread_name_prefix=lane.value) for lane in Lane})
        self.spans = SpanLog(time.monotonic, most=100_000)
        figures = TURBO if tiny.model is ChatterboxModel.TURBO else ENGLISH
        self.engine = Engine(
            self.residency,
            self.workers,
            models={tiny.config().model: tiny.speech},
            restore_timeout_seconds=20.0,
            spans=self.spans,
            # On a slow machine a place may take longer than a listener would wait.
            pace=Pace(figures=figures, place_wait_seconds=TIMEOUT_SECONDS),
        )

    def bursts(self) -> list[int]:
        """Return how many segments each burst was for, in order."""
        names = [span.name.split() for span in self.spans.spans]
        return [int(name[-1]) for name in names if name[:2] == ["tokens", "of"]]

    def together(self, work: str) -> list[int]:
        """Return how many segments each piece of such work of the sound's lane was for, in order."""
        names = [span.name.split() for span in self.spans.spans]
        return [int(name[-1]) for name in names if name[:2] == [work, "of"]]

    def _spec(self, tiny: CapturedTiny, name: ModuleName) -> ModuleSpec:
        def load() -> Any:
            return tiny.modules[name]

        return ModuleSpec(name=name, load=load, home_bytes=10)

    def __repr__(self) -> str:
        return f"<PacedStage {self.engine!r}>"


@asynccontextmanager
async def paced_stage(tiny: CapturedTiny, *, listeners: int = 1) -> AsyncIterator[tuple[PacedStage, list[Listener]]]:
    """Give a stage, and sessions whose renderers run."""
    stage = PacedStage(tiny)
    await asyncio.to_thread(stage.residency.start)
    heard = [Listener(stage) for _ in range(listeners)]  # type: ignore[arg-type]  # It has an engine, which is all.
    running = [asyncio.create_task(each.renderer.run()) for each in heard]
    try:
        yield stage, heard
    finally:
        await end_stage(stage, running)
