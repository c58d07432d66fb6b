"""Captured T3 on a GPU, as graphs with its kernels: token for token the eager stream's on the same device."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks.cuda_graphs import CudaGraphs
from tests.fakes.captured_t3 import request, spoken, stream_of
from tests.fakes.choice_kernels import all_compared
from tests.fakes.guard_kernels import compared
from tests.fakes.tiny_t3 import STOP, tiny_t3
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.running_form import RunningForm, packed
from tts_service.speech.captured.t3_captured import CapturedT3
from tts_service.speech.captured.t3_passes import Buckets
from tts_service.speech.captured.t3_tuning import chains
from tts_service.speech.captured.t3_ways import FEW_LINES, kernel_ways
from tts_service.speech.captured.token_pages import PageShape, TensorPages
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.speech_tokens import SpeechTokens

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"),
]

ENGLISH, MULTILINGUAL, TURBO = ChatterboxModel
PAGES = 60
SETTINGS: dict[str, dict[str, Any]] = {
    "usual": {},
    "top-p": {"top_p": 0.8, "temperature": 1.3},
    "unguided": {"cfg_weight": 0.0},
}


def on_gpu(model: ChatterboxModel, few_lines: int, **planted: Any) -> tuple[Any, CapturedT3, TensorPages]:
    """Return a tiny network, captured T3 over it, and its pages."""
    gpu = torch.device("cuda", 0)
    t3: Any = packed(tiny_t3(model, **planted).to(gpu), RunningForm())
    pages = TensorPages(PageShape.of(t3), pages=PAGES, dtype=torch.float32, device=gpu)
    prompts = (416,) if model is TURBO else (64,)
    captured = CapturedT3(
        model=model,
        t3=t3,
        graphs=CudaGraphs(gpu),
        pages=pages,
        buckets=replace(Buckets.of(model, 2), prompts=prompts),
        ways=kernel_ways(model, few_lines, early=chains(gpu)),
    )
    captured.capture(t3)
    return t3, captured, pages


@pytest.mark.parametrize("few_lines", [0, FEW_LINES], ids=["library", "own"])
@pytest.mark.parametrize("model", list(ChatterboxModel))
def test_captured_tokens_are_those_of_the_eager_stream(model: ChatterboxModel, few_lines: int) -> None:
    """In fp32, with tokens in order and without, guided and not; afterwards nothing is held."""
    t3, captured, pages = on_gpu(model, few_lines)
    for seed, settings in enumerate(SETTINGS.values()):
        asked = request(model, seed=seed, **settings)
        eager = SpeechTokens(asked, CounterRandom(seed=seed, segment=0, device="cuda"))
        list(eager.tokens(t3))
        stream = stream_of(asked, captured, seed)
        spoken(stream, t3, burst=3 + seed)

        assert (eager.history, eager.finish) == (stream.history, stream.finish)
    assert (PAGES, 0) == (pages.free_pages, captured.open_slots)


@pytest.mark.parametrize("bias", [{STOP: 30.0}, {100: 30.0}, {STOP: -50.0}], ids=["stop", "one thing", "no stop"])
def test_guarded_tokens_on_the_gpu_are_those_of_the_eager_stream(bias: dict[int, float]) -> None:
    """The alignment guard holds the stop token back and forces it at the same steps."""
    t3, captured, _ = on_gpu(MULTILINGUAL, FEW_LINES, bias=bias)
    for seed, text in enumerate((3, 5, 6, 20)):
        asked = request(MULTILINGUAL, seed=seed, text=text)
        eager = SpeechTokens(asked, CounterRandom(seed=seed, segment=0, device="cuda"))
        list(eager.tokens(t3))
        stream = stream_of(asked, captured, seed)
        spoken(stream, t3)

        assert (eager.history, eager.finish) == (stream.history, stream.finish)


def test_guard_and_choice_kernels_compiled_equal_torch() -> None:
    """What the interpreter has shown of the guard's kernels and the choice's is true of the compiled ones."""
    found = compared(torch.device("cuda", 0))

    assert {"rules": 0.0, "burst": 0.0, "numbers": 0.0} == {name: found[name] for name in ("rules", "burst", "numbers")}
    assert found["followed"] < 1e-5


def test_choice_kernels_with_tokens_in_order_compiled_choose_what_torch_chooses() -> None:
    """What the interpreter has shown of top-k and top-p is true of the compiled kernels."""
    found = all_compared(torch.device("cuda", 0))

    assert {"english": 0, "turbo": 0} == {model: each["different"] for model, each in found.items()}
