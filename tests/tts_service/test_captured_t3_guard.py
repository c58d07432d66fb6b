"""The alignment guard of captured Multilingual, rule for rule the eager stream's, and kernels beside torch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.captured_t3 import captured_t3, request, running_t3, spoken, stream_of
from tests.fakes.tiny_t3 import STOP
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.speech_tokens import SpeechTokens, TokenFinish

MULTILINGUAL = ChatterboxModel.MULTILINGUAL
ROOT = Path(__file__).resolve().parents[2]

STORIES = {
    "eager to stop": ({STOP: 30.0}, {TokenFinish.STOPPED, TokenFinish.FORCED, TokenFinish.TOKEN_LIMIT}),
    "saying one thing": ({100: 30.0}, {TokenFinish.FORCED}),
    "never stopping": ({STOP: -50.0}, {TokenFinish.FORCED, TokenFinish.TOKEN_LIMIT}),
}


@pytest.mark.parametrize("story", STORIES)
def test_guarded_tokens_are_those_of_the_eager_stream(story: str) -> None:
    """Texts of two to 24 tokens: the stop token comes when the eager guard lets it or makes it, and is called so."""
    bias, possible = STORIES[story]
    t3 = running_t3(MULTILINGUAL, bias=bias)
    captured, _ = captured_t3(MULTILINGUAL, t3, slots=1, prompts=(64,))
    finishes = set()
    for seed, text in enumerate((2, 3, 5, 6, 12, 24)):
        asked = request(MULTILINGUAL, seed=seed, text=text, max_segment_tokens=14, cfg_weight=0.5 * (seed % 2))
        eager = SpeechTokens(asked, CounterRandom(seed=seed, segment=0))
        list(eager.tokens(t3))
        stream = stream_of(asked, captured, seed)
        spoken(stream, t3, burst=5)
        finishes.add(stream.finish)

        assert (eager.history, eager.finish) == (stream.history, stream.finish)
    assert finishes <= possible


def test_guard_and_choice_kernels_in_the_interpreter_equal_torch() -> None:
    """Over many steps of three texts what is remembered, decided and chosen is the same; every rule occurs."""
    pytest.importorskip("triton", reason="Triton comes with torch's CUDA build only")
    found = _interpreted("tests.fakes.guard_kernels")
    assert {"rules": 0.0, "burst": 0.0, "numbers": 0.0} == {name: found[name] for name in ("rules", "burst", "numbers")}
    assert found["followed"] < 1e-5
    assert min(found["free"], found["suppressed"], found["forced"]) > 0


def test_choice_kernels_with_tokens_in_order_in_the_interpreter_choose_what_torch_chooses() -> None:
    """Top-k and top-p of any kind beside each other, before and after the penalty: the same tokens over many steps."""
    pytest.importorskip("triton", reason="Triton comes with torch's CUDA build only")
    found = _interpreted("tests.fakes.choice_kernels")

    assert {"english": 0, "turbo": 0} == {model: each["different"] for model, each in found.items()}
    assert min(each["kinds"] for each in found.values()) > 20


def _interpreted(program: str) -> Any:
    """Return what a program found with Triton's interpreter for a compiler."""
    run = subprocess.run(
        [sys.executable, "-m", program],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(run.stdout)
