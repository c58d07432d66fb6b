"""What the renderer makes of orders when speech fails or is interrupted: who is told, and that others go on."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import numpy as np
import pytest

from tests.fakes.fake_modules import FakeModules
from tests.fakes.fake_watermarker import PlainEncoder
from tests.fakes.session_driver import OFFER
from tests.fakes.spoken_in_pieces import PreparedSegment, PreparedSpeech
from tts_service.engine import Engine
from tts_service.errors import CallerError, Reason
from tts_service.models.module_spec import ModuleSpec
from tts_service.renderer import Renderer
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.residency.types import Tier
from tts_service.speech.pipeline import EMPTY_SECONDS
from tts_service.speech.rendering import (
    AudioFinished,
    AudioMade,
    DiscardAudio,
    FinishAudio,
    RenderEvent,
    RenderFailed,
    RenderSegment,
    RestoreAwaited,
    SegmentMade,
)
from tts_service.speech.session_config import ConfigRequest, Defaults, SessionConfig, resolve
from tts_service.speech.speech_model import Modules
from tts_service.types import (
    MODEL_SAMPLE_RATE_HERTZ,
    VOICE,
    WATERMARK_ENCODER,
    ModuleName,
    Segment,
    Waveform,
)
from tts_service.workers import Workers

CONFIG: SessionConfig = resolve(ConfigRequest(), OFFER, Defaults(seed=1))
TEXT = Segment(text="Here.", text_start=0, text_end=5)
SPEECH: list[Waveform] = [np.full(5_000, 0.5, np.float32), np.full(5_000, 0.5, np.float32)]
TIMEOUT_SECONDS = 20.0


class RefusedSpeech(PreparedSpeech):
    """Prepared speech that goes wrong: `begin` in the place of each utterance's beginning, `on_step` before a step."""

    def __init__(self, *segments: list[Waveform]) -> None:
        super().__init__(*segments)
        self.begin: Callable[[], None] = lambda: None
        self.on_step: Callable[[], None] = lambda: None
        self.steps = 0

    def utterance(self, config: SessionConfig) -> PreparedSpeech:
        """Begin an utterance, or not."""
        self.begin()
        return super().utterance(config)

    def segment(self, segment: Segment, index: int, *, in_turns: bool = False) -> PreparedSegment:
        """Begin a segment whose steps are counted."""
        begun = super().segment(segment, index, in_turns=in_turns)
        step = begun.step

        def counted(leased: Modules) -> Waveform:
            self.steps += 1
            self.on_step()
            return step(leased)

        begun.step = counted  # type: ignore[method-assign]  # The test's own object.
        return begun


class Stage:
    """An engine over two modules, one renderer, and all that it said."""

    def __init__(self, speech: RefusedSpeech) -> None:
        self.speech = speech
        self.gate = threading.Event()
        self.gate.set()
        self.events: list[RenderEvent] = []
        specs = (
            ModuleSpec(name=VOICE, load=self._voice),
            ModuleSpec(name=WATERMARK_ENCODER, load=PlainEncoder),
        )
        mover = Mover(memory=FakeModules({}), clock=time.perf_counter, collect=lambda: 0)
        self.residency = ResidencyManager(specs, mover=mover, stay_seconds=0.0)
        self.workers = Workers.shared(1)
        engine = Engine(self.residency, self.workers, models={CONFIG.model: speech}, restore_timeout_seconds=10)
        self.renderer = Renderer(engine, self.events.append)

    def _voice(self) -> object:
        self.gate.wait(TIMEOUT_SECONDS)
        return object()

    def order(self, utterance_id: str, *, segments: int = 1) -> None:
        """Order all of an utterance."""
        for index in range(segments):
            self.renderer.submit(RenderSegment(utterance_id=utterance_id, config=CONFIG, segment=TEXT, index=index))
        self.renderer.submit(FinishAudio(utterance_id=utterance_id, config=CONFIG, empty=False))

    async def until(self, kind: type[RenderEvent], utterance_id: str) -> RenderEvent:
        """Wait for an event."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and event.utterance_id == utterance_id:
                        return event
                await asyncio.sleep(0.002)

    def kinds(self, utterance_id: str) -> set[type[RenderEvent]]:
        """Return what was said of an utterance."""
        return {type(event) for event in self.events if event.utterance_id == utterance_id}

    def claims(self) -> int:
        """Return how many claims there are on modules."""
        return sum(module.claims for module in self.residency.report().modules)

    def __repr__(self) -> str:
        return f"<Stage {self.renderer!r} | {len(self.events)} events>"


@asynccontextmanager
async def on_stage(speech: RefusedSpeech) -> AsyncIterator[Stage]:
    """Give a stage whose renderer runs."""
    set_up = Stage(speech)
    await asyncio.to_thread(set_up.residency.start)
    running = asyncio.create_task(set_up.renderer.run())
    try:
        yield set_up
    finally:
        set_up.gate.set()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await asyncio.to_thread(set_up.workers.close)
        await asyncio.to_thread(set_up.residency.close)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Give a stage with three segments to speak."""
    async with on_stage(RefusedSpeech(list(SPEECH), list(SPEECH), list(SPEECH))) as set_up:
        yield set_up


def too_long() -> None:
    """Refuse as a model does."""
    raise CallerError(Reason.TEXT_TOO_LONG, "a segment of 9,999 tokens")


def gone() -> None:
    """Refuse a voice."""
    raise CallerError(Reason.VOICE_NOT_FOUND, "there is no such voice")


def broken() -> None:
    """Fail as nothing should."""
    raise RuntimeError("the model is broken")


@pytest.mark.parametrize(
    ("place", "refuse", "reason"),
    [
        ("on_step", too_long, Reason.TEXT_TOO_LONG),
        ("begin", gone, Reason.VOICE_NOT_FOUND),
        ("on_step", broken, Reason.ENGINE_FAULT),
        ("begin", broken, Reason.ENGINE_FAULT),
    ],
)
async def test_utterance_that_fails_says_why_and_holds_nothing_and_the_next_is_spoken(
    stage: Stage, place: str, refuse: Callable[[], None], reason: Reason
) -> None:
    """The caller's fault keeps its reason, any other is the engine's; what was ordered behind it is dropped."""
    setattr(stage.speech, place, refuse)
    stage.order("bad", segments=2)
    failed = await stage.until(RenderFailed, "bad")
    claims = stage.claims()
    setattr(stage.speech, place, lambda: None)
    stage.order("good")
    await stage.until(AudioFinished, "good")

    assert isinstance(failed, RenderFailed)
    assert (reason, 0) == (failed.error.reason, claims)
    assert not stage.kinds("bad") & {SegmentMade, AudioFinished}
    assert {AudioMade, SegmentMade} <= stage.kinds("good")
    assert 0 == stage.claims()


async def test_segment_that_brings_no_speech_leaves_a_short_silence() -> None:
    """A model may have nothing to say to a text: its span is empty, and the utterance ends well."""
    async with on_stage(RefusedSpeech([np.zeros(0, np.float32)])) as set_up:
        set_up.order("u")
        made = await set_up.until(SegmentMade, "u")
        last = await set_up.until(AudioFinished, "u")
        samples = [event.piece.sample_count for event in set_up.events if isinstance(event, AudioMade | AudioFinished)]

    assert isinstance(made, SegmentMade)
    assert isinstance(last, AudioFinished)
    assert (0, 0) == (made.sample_start, made.sample_end)
    assert round(EMPTY_SECONDS * MODEL_SAMPLE_RATE_HERTZ) == sum(samples)


async def test_discard_while_a_step_runs_ends_with_that_step(stage: Stage) -> None:
    """No word of the utterance follows, its claim is gone at once, and the next one is spoken."""
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go_on.wait(TIMEOUT_SECONDS)

    stage.speech.on_step = hold
    stage.order("first")
    await asyncio.to_thread(begun.wait, TIMEOUT_SECONDS)
    stage.renderer.submit(DiscardAudio(utterance_id="first"))
    claims, said = stage.claims(), len(stage.events)
    stage.speech.on_step = lambda: None
    go_on.set()
    stage.order("second")
    await stage.until(AudioFinished, "second")

    assert 0 == claims
    assert {"second"} == {event.utterance_id for event in stage.events[said:]}
    assert 1 + len(SPEECH) == stage.speech.steps


async def test_discard_while_a_restore_is_awaited_computes_nothing(stage: Stage) -> None:
    """When the module comes at last, nothing is spoken with it that nobody wants any more."""
    stage.residency.place(ModuleName(VOICE), Tier.DISK, timeout_seconds=TIMEOUT_SECONDS)
    stage.residency.place(ModuleName(VOICE), None, timeout_seconds=0)
    stage.gate.clear()
    stage.order("first")
    await stage.until(RestoreAwaited, "first")
    stage.renderer.submit(DiscardAudio(utterance_id="first"))
    claims = stage.claims()
    stage.gate.set()
    stage.order("second")
    await stage.until(AudioFinished, "second")

    assert 0 == claims
    assert len(SPEECH) == stage.speech.steps
    assert not stage.kinds("first") & {AudioMade, SegmentMade, AudioFinished, RenderFailed}


async def test_discard_while_a_restore_is_awaited_lets_the_next_order_begin(stage: Stage) -> None:
    """The wait is given up with the utterance: the next one asks for the module while it is still away."""
    stage.residency.place(ModuleName(VOICE), Tier.DISK, timeout_seconds=TIMEOUT_SECONDS)
    stage.residency.place(ModuleName(VOICE), None, timeout_seconds=0)
    stage.gate.clear()
    stage.order("first")
    await stage.until(RestoreAwaited, "first")
    stage.renderer.submit(DiscardAudio(utterance_id="first"))
    stage.order("second")
    await stage.until(RestoreAwaited, "second")
    still_away = not stage.gate.is_set()
    stage.gate.set()
    await stage.until(AudioFinished, "second")

    assert still_away
    assert RenderFailed not in stage.kinds("first") | stage.kinds("second")


async def test_encoder_is_leased_for_pieces_alone() -> None:
    """Steps that bring little or no speech cost one lease each, and not a second one to find nothing to mark."""
    pieces: list[Waveform] = [
        np.full(500, 0.5, np.float32) if number % 3 else np.zeros(0, np.float32) for number in range(30)
    ]
    async with on_stage(RefusedSpeech(pieces)) as set_up:
        set_up.order("u")
        await set_up.until(AudioFinished, "u")
        uses = {module.module: module.uses for module in set_up.residency.report().modules}
        made = sum(isinstance(event, AudioMade) for event in set_up.events)

    assert made > 0
    assert {VOICE: 30, WATERMARK_ENCODER: made} == uses
