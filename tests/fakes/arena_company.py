"""A tiny captured model over arenas of the driver's fake, behind a manager and the loops that share lanes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import torch

from tests.fakes.arena_residency import arena_weights
from tests.fakes.device_figures import ENGLISH
from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tests.fakes.fake_recorder import FakeRecorder
from tests.fakes.paced_stage import FLOW_SHAPES, WINDOWS
from tests.fakes.tiny_chatterbox import TinyChatterbox
from tests.fakes.tiny_stage import Listener, end_stage
from tests.fakes.torch_networks import DEVICE_TIERS, NoMemory
from tts_service.engine import Engine
from tts_service.loops import Pace
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.module_spec import ModuleSpec
from tts_service.models.watermark_catalog import watermark_catalog
from tts_service.residency.growing_range import GrowingRange
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.residency.scratch_space import ScratchSpace, scratch_spec
from tts_service.residency.types import Directive, ModuleStatus, Placement, Tier, Urgency
from tts_service.spans import SpanLog
from tts_service.speech.captured_stages import CapturedStages
from tts_service.speech.speech_model import Lane
from tts_service.stage_memory import SCRATCH_COMPANY, stage_memory
from tts_service.types import WATERMARK_ENCODER, ModuleName
from tts_service.workers import Workers

MOST_BYTES = 1 << 28
ADOPT_FROM_BYTES = 1 << 12


class FailingRecorder(FakeRecorder):
    """Has no memory for what is captured after so many captures."""

    def __init__(self, device: torch.device, memory: GrowingRange, *, captures: int) -> None:
        super().__init__(device, memory)
        self._left = captures

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture, or fail as torch does."""
        self._left -= 1
        if self._left < 0:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().record(work)


class ArenaCompany:
    """An engine over a model whose graphs for several are captured late; the first `captures` of them succeed."""

    def __init__(self, temporary: Path, *, captures: int | None = None, late: bool = True) -> None:
        self.driver = FakeCudaDriver()
        self.weights = arena_weights(self.driver, adopt_from_bytes=ADOPT_FROM_BYTES)

        def recorder(device: torch.device, memory: GrowingRange) -> FakeRecorder:
            return (
                FakeRecorder(device, memory) if captures is None else FailingRecorder(device, memory, captures=captures)
            )

        memory, self.spaces = stage_memory(
            self.weights, recorder=FakeRecorder, late_recorder=recorder, most_bytes=MOST_BYTES
        )
        assert memory.company is not None
        memory = replace(memory, company=replace(memory.company, shapes=FLOW_SHAPES, windows=WINDOWS))
        self.stages = CapturedStages(ChatterboxModel.ENGLISH, memory, slots=6, company_late=late)
        self.tiny = tiny = TinyChatterbox(temporary, ChatterboxModel.ENGLISH, stages=self.stages)
        encoder = next(each for each in watermark_catalog(temporary / "cache") if each.name == WATERMARK_ENCODER)
        encoder.install()
        tiny.modules[WATERMARK_ENCODER] = encoder.load()
        self.spans = SpanLog(time.monotonic, most=100_000)
        self.residency = self._manager()
        self.workers = Workers({lane: ThreadPoolExecutor(1, thread_name_prefix=lane.value) for lane in Lane})
        self.engine = Engine(
            self.residency,
            self.workers,
            models={tiny.config().model: tiny.speech},
            restore_timeout_seconds=20.0,
            spans=self.spans,
            pace=Pace(figures=ENGLISH),
        )
        self._versions = count(1)

    def _manager(self) -> ResidencyManager:
        tiny = self.tiny

        def loaded(name: ModuleName) -> Callable[[], object]:
            return lambda: tiny.modules[name]

        names = [name for name in (*tiny.speech.modules, WATERMARK_ENCODER) if not name.startswith("scratch.")]
        manager = ResidencyManager(
            [
                *(ModuleSpec(name=name, load=loaded(name), home_bytes=1 << 20) for name in names),
                *map(scratch_spec, self.spaces),
            ],
            mover=Mover(memory=NoMemory(), clock=time.monotonic, collect=lambda: 0, device=self.weights),
            tiers=DEVICE_TIERS,
            stay_seconds=0.05,
            steps=tiny.speech.step_modules,
        )
        for space in self.spaces:
            space.account = manager.account(space.name)
        return manager

    @property
    def space(self) -> ScratchSpace:
        """Where sound of several is made."""
        return next(each for each in self.spaces if each.name == SCRATCH_COMPANY)

    def status(self, module: ModuleName = SCRATCH_COMPANY) -> ModuleStatus:
        """Return what is reported of a module."""
        return next(each for each in self.residency.report().modules if each.module == module)

    def send_away(self) -> None:
        """Order the memory for several to leave as soon as nobody uses it."""
        leave = Placement(module=SCRATCH_COMPANY, tier=Tier.DISK, urgency=Urgency.WHEN_UNLEASED)
        self.residency.set_directive(
            Directive(epoch=1, version=next(self._versions), valid_for_seconds=60.0, placements=(leave,))
        )

    def together(self, work: str = "step") -> list[int]:
        """Return for how many each piece of such work was, in order."""
        names = [span.name.split() for span in self.spans.spans]
        return [int(name[-1]) for name in names if name[:2] == [work, "of"]]

    async def all_captured(self) -> None:
        """Wait until nothing is left to capture."""
        while self.engine.late.counts.waiting:  # noqa: ASYNC110  # Nobody would ring for a test.
            await asyncio.sleep(0.02)

    def __repr__(self) -> str:
        return f"<ArenaCompany {self.engine!r} | {self.driver!r}>"


@asynccontextmanager
async def arena_company(
    temporary: Path, *, listeners: int, captures: int | None = None, late: bool = True
) -> AsyncIterator[tuple[ArenaCompany, list[Listener]]]:
    """Give such an engine, started, and sessions whose renderers run."""
    stage = ArenaCompany(temporary, captures=captures, late=late)
    heard = list[Listener]()
    running = list[asyncio.Task[None]]()
    try:
        await asyncio.to_thread(stage.residency.start)
        await asyncio.to_thread(stage.engine.prepare, lambda _name: None)
        heard += [Listener(stage) for _ in range(listeners)]  # type: ignore[arg-type]  # It has an engine, which is all.
        running += [asyncio.create_task(each.renderer.run()) for each in heard]
        yield stage, heard
    finally:
        await end_stage(stage, running)
