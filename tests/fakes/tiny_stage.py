"""A renderer over a tiny Chatterbox model whose modules really move, and all that it said."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

from tests.fakes.fake_modules import FakeModules
from tests.fakes.fake_watermarker import PlainEncoder
from tests.fakes.tiny_chatterbox import TinyChatterbox, segment_of
from tts_service.engine import Engine
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.models.chatterbox.t3_network import T3
from tts_service.models.module_spec import ModuleSpec
from tts_service.renderer import Renderer
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.residency.types import Directive, Placement, Tier, Urgency
from tts_service.speech.rendering import (
    AudioFinished,
    AudioMade,
    FinishAudio,
    RenderEvent,
    RenderFailed,
    RenderSegment,
)
from tts_service.speech.session_config import SessionConfig
from tts_service.types import WATERMARK_ENCODER, ModuleName
from tts_service.workers import Workers

TIMEOUT_SECONDS = 60.0
SIZES = {T3: 100, S3GEN_FLOW: 90, S3GEN_VOCODER: 80, WATERMARK_ENCODER: 30}
"""Bytes that nothing is made of, so that every border has a number."""


class TinyStage:
    """An engine over a model's modules and a watermark's stand-in, with as many renderers as are asked for."""

    def __init__(self, chatterbox: TinyChatterbox, *, budget_bytes: int | None = None, workers: int = 2) -> None:
        self.chatterbox = chatterbox
        self.residency = ResidencyManager(
            specs_of(chatterbox),
            mover=Mover(memory=FakeModules({}), clock=time.perf_counter, collect=lambda: 0),
            budget_bytes=budget_bytes,
            stay_seconds=0.0,
            restore_timeout_seconds=20.0,
        )
        self.at_rest = threading.Event()
        self.workers = Workers.shared(workers)
        model = chatterbox.config().model
        self.engine = Engine(
            self.residency, self.workers, models={model: chatterbox.speech}, restore_timeout_seconds=20.0
        )

    def send_away(self, modules: Sequence[ModuleName]) -> None:
        """Have modules leave as soon as they can, one after the other, until `at_rest` is set."""
        version = count(1)
        while not self.at_rest.is_set():
            for module in modules:
                leave = Placement(module=module, tier=Tier.DISK, urgency=Urgency.WHEN_UNLEASED)
                self.residency.set_directive(
                    Directive(epoch=1, version=next(version), valid_for_seconds=60.0, placements=(leave,))
                )
                self.at_rest.wait(0.005)

    def loads(self) -> Mapping[str, int]:
        """Return how often each module has come home since the start."""
        return {each.module: each.restores for each in self.residency.report().modules}

    def __repr__(self) -> str:
        return f"<TinyStage {self.engine!r}>"


class Listener:
    """One session: orders in, events out."""

    def __init__(self, stage: TinyStage) -> None:
        self.events: list[RenderEvent] = []
        self.renderer = Renderer(stage.engine, self._hear)
        self._heard = asyncio.Event()

    def _hear(self, event: RenderEvent) -> None:
        self.events.append(event)
        self._heard.set()

    def order(self, utterance_id: str, config: SessionConfig, texts: Collection[str]) -> None:
        """Order all of an utterance at once."""
        for index, text in enumerate(texts):
            self.renderer.submit(
                RenderSegment(utterance_id=utterance_id, config=config, segment=segment_of(text), index=index)
            )
        self.renderer.submit(FinishAudio(utterance_id=utterance_id, config=config, empty=False))

    async def end_of(self, utterance_id: str) -> RenderEvent:
        """Wait for the utterance's end, good or bad."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                for event in self.events:
                    if isinstance(event, AudioFinished | RenderFailed) and event.utterance_id == utterance_id:
                        return event
                self._heard.clear()
                await self._heard.wait()

    def audio(self, utterance_id: str) -> bytes:
        """Return all coded audio of an utterance."""
        pieces = [
            event.piece.data
            for event in self.events
            if isinstance(event, AudioMade | AudioFinished) and event.utterance_id == utterance_id
        ]
        return b"".join(pieces)

    def __repr__(self) -> str:
        return f"<Listener {len(self.events)} events>"


def specs_of(chatterbox: TinyChatterbox) -> tuple[ModuleSpec, ...]:
    """Return the speaking modules, in the order of the data path, with what they are said to hold."""
    names = chatterbox.speech.modules
    return (*(_spec(chatterbox, name) for name in names), _watermark())


def _spec(chatterbox: TinyChatterbox, name: ModuleName) -> ModuleSpec:
    return ModuleSpec(name=name, load=lambda: chatterbox.weights.load(name), home_bytes=SIZES[name])


def _watermark() -> ModuleSpec:
    return ModuleSpec(name=WATERMARK_ENCODER, load=PlainEncoder, home_bytes=SIZES[WATERMARK_ENCODER])


async def end_stage(stage: Any, running: Sequence["asyncio.Task[None]"]) -> None:
    """End sessions' renderers, then the threads of their engine, then its modules."""
    for task in running:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await asyncio.to_thread(stage.workers.close)
    await asyncio.to_thread(stage.residency.close)


@asynccontextmanager
async def tiny_stage(
    chatterbox: TinyChatterbox, *, budget_bytes: int | None = None, workers: int = 2, listeners: int = 1
) -> AsyncIterator[tuple[TinyStage, list[Listener]]]:
    """Give a stage, and sessions whose renderers run."""
    stage = TinyStage(chatterbox, budget_bytes=budget_bytes, workers=workers)
    await asyncio.to_thread(stage.residency.start)
    heard = [Listener(stage) for _ in range(listeners)]
    running = [asyncio.create_task(each.renderer.run()) for each in heard]
    try:
        yield stage, heard
    finally:
        await end_stage(stage, running)
