"""The stages as they compute without graphs, on weights of a lower precision: close to fp32, and no type mixed up."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.fakes.tiny_s3gen import planted_s3gen
from tests.fakes.tiny_t3 import tiny_t3, tiny_text, tiny_voice
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.running_form import RunningForm, packed
from tts_service.speech.captured.flow_weights import flow_form
from tts_service.speech.mel_flow import flow_mel
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.sampling import default_sampling
from tts_service.speech.speech_tokens import SpeechTokens, TokenRequest
from tts_service.types import Precision

LOWER = pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16])


@LOWER
@pytest.mark.parametrize("model", ChatterboxModel)
def test_tokens_come_from_a_backbone_of_lower_precision(model: ChatterboxModel, precision: Precision) -> None:
    """Every model speaks, alignment guard and guidance included, and the same for the same seed."""
    t3: Any = packed(tiny_t3(model), RunningForm(precision=precision))
    sampling = replace(default_sampling(model), max_segment_tokens=12)
    asked = TokenRequest(model=model, text=tiny_text(model), voice=tiny_voice(model), sampling=sampling)
    first, again = (list(SpeechTokens(asked, CounterRandom(seed=1, segment=0)).tokens(t3)) for _ in range(2))

    assert first == again
    assert first


@LOWER
@pytest.mark.parametrize("meanflow", [False, True], ids=["guided", "meanflow"])
def test_mel_of_lower_precision_is_close_to_fp32(meanflow: bool, precision: Precision) -> None:  # noqa: FBT001 - a parameter.
    """Times, norms and the sum of the steps stay in fp32, so that a hundredth of a mel's spread is not reached."""
    net = planted_s3gen(meanflow=meanflow)
    tokens = torch.randint(0, 6561, (30,), generator=torch.Generator().manual_seed(3))
    noise = torch.randn(80, 2 * (20 + 30), generator=torch.Generator().manual_seed(4))
    expected = flow_mel(net.flow, net.prompt, tokens, noise, final=True)
    lower: Any = packed(copy.deepcopy(net.flow), flow_form(precision))
    mel = flow_mel(lower, net.prompt, tokens, noise, final=True)

    assert torch.float32 == mel.dtype
    assert 0 < (mel - expected).abs().max() < 0.01 * expected.std()
