"""Captured T3 over tiny networks on a CPU, uncaptured: graphs that run their work, and few pages."""

from dataclasses import replace
from typing import Any

import torch

from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tests.fakes.manual_clock import ManualClock
from tests.fakes.tiny_t3 import tiny_t3, tiny_text, tiny_voice
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.running_form import RunningForm, packed
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.locked_pages import LockedPages
from tts_service.speech.captured.graphs import EagerGraphs
from tts_service.speech.captured.t3_captured import CapturedT3
from tts_service.speech.captured.t3_passes import Buckets
from tts_service.speech.captured.t3_ways import torch_ways
from tts_service.speech.captured.token_pages import PageShape, TensorPages
from tts_service.speech.captured.token_stream import CapturedTokens
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.resting import Leave
from tts_service.speech.sampling import default_sampling
from tts_service.speech.speech_tokens import TokenRequest


def running_t3(model: ChatterboxModel, **planted: Any) -> Any:
    """Return a tiny network whose weights lie as they run."""
    return packed(tiny_t3(model, **planted), RunningForm())


def captured_t3(
    model: ChatterboxModel,
    t3: Any,
    *,
    slots: int = 4,
    pages: int = 60,
    prompts: tuple[int, ...] | None = None,
    most: int | None = None,
    room: LockedPages | None = None,
) -> tuple[CapturedT3, TensorPages]:
    """Return captured T3 and its pages; `most` slots share a pass, and may leave for a `room`."""
    memory = TensorPages(PageShape.of(t3), pages=pages, dtype=torch.float32)
    buckets = Buckets.of(model, most or slots)
    captured = CapturedT3(
        model=model,
        t3=t3,
        graphs=EagerGraphs(torch.device("cpu")),
        pages=memory,
        buckets=buckets if prompts is None else replace(buckets, prompts=prompts),
        ways=torch_ways(model),
        slots=slots,
        room=room,
    )
    captured.capture(t3)
    return captured, memory


def room_for(t3: Any, *, pages: int) -> LockedPages:
    """Return host memory for so many pages of a network."""
    shape = PageShape.of(t3)
    most_bytes = pages * shape.contents_bytes(torch.float32)
    return LockedPages(
        FakeCudaDriver(),
        CaptureGate(),
        shape.dimensions,
        dtype=torch.float32,
        most_bytes=most_bytes,
        clock=ManualClock(),
    )


def left(stream: CapturedTokens) -> Leave:
    """Have a stream leave, however often that has to be asked."""
    outcome = Leave.LATER
    while outcome is Leave.LATER:
        outcome = stream.leave()
    return outcome


def request(model: ChatterboxModel, *, seed: int = 3, text: int = 20, **settings: Any) -> TokenRequest:
    """Return a request of 25 tokens at most."""
    sampling = replace(default_sampling(model), **{"max_segment_tokens": 25, **settings})
    return TokenRequest(
        model=model, text=tiny_text(model, count=text, seed=seed), voice=tiny_voice(model, seed), sampling=sampling
    )


def spoken(stream: CapturedTokens, t3: Any, burst: int = 8) -> list[int]:
    """Return all tokens that come out."""
    heard: list[int] = []
    while stream.finish is None:
        heard += stream.advance(t3, burst)
    return heard


def stream_of(asked: TokenRequest, captured: CapturedT3, seed: int = 1) -> CapturedTokens:
    """Return a stream with the product's random numbers."""
    return CapturedTokens(asked, CounterRandom(seed=seed, segment=0), captured)
