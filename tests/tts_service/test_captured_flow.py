"""The flow in length buckets against the eager one and upstream's, with the same tokens and noise."""

import copy
import functools
from typing import Any
from unittest.mock import patch

import pytest
import torch

from tests.fakes.tiny_s3gen import TinyS3Gen, planted_s3gen, smooth_mel, upstream_conditionals
from tts_service.models.chatterbox.running_form import packed
from tts_service.speech.captured.flow_buckets import FlowBuckets
from tts_service.speech.captured.flow_noise import CapturedNoise
from tts_service.speech.captured.flow_stage import CapturedFlow
from tts_service.speech.captured.flow_weights import flow_form
from tts_service.speech.captured.graphs import EagerGraphs
from tts_service.speech.mel import MelState, decode_mel, mel_noise, with_tokens
from tts_service.speech.mel_flow import MelPrompt, flow_mel, mel_frames
from tts_service.speech.random_source import CounterRandom
from tts_service.types import Precision

MODELS = pytest.mark.parametrize("meanflow", [False, True], ids=["guided", "meanflow"])
PROMPT_TOKENS = 20
BUCKETS = FlowBuckets((64, 96, 160))


@functools.cache
def planted(*, meanflow: bool, precision: Precision | None = None) -> tuple[TinyS3Gen, CapturedFlow]:
    """Return networks and what was captured over them; with a precision, in their running form."""
    net = planted_s3gen(meanflow=meanflow, prompt_tokens=PROMPT_TOKENS)
    if precision is not None:
        packed(net.flow, flow_form(precision))
    stage = CapturedFlow(EagerGraphs(torch.device("cpu")), buckets=BUCKETS)
    stage.capture(net.flow)
    return net, stage


def tokens_of(count: int) -> torch.Tensor:
    """Return any tokens, always the same."""
    return torch.randint(0, 6561, (count,), generator=torch.Generator().manual_seed(count))


def noise_of(count: int, *, final: bool) -> torch.Tensor:
    """Return the noise of a decode of this many tokens."""
    frames = 2 * PROMPT_TOKENS + mel_frames(count, final=final)
    return torch.randn(80, frames, generator=torch.Generator().manual_seed(count))


def far(net: TinyS3Gen, stage: CapturedFlow, count: int, *, final: bool) -> float:
    """Return how far a captured decode is from the eager one."""
    tokens, noise = tokens_of(count), noise_of(count, final=final)
    got = stage.mel(net.flow, net.prompt, tokens, noise, final=final)
    want = flow_mel(net.flow, net.prompt, tokens, noise, final=final)
    assert want.shape == got.shape
    assert got.dtype == torch.float32
    return (want - got).abs().max().item()


@MODELS
@pytest.mark.parametrize("count", [1, 11, 12, 13, 27, 28, 29, 59, 60])
def test_captured_flow_at_the_borders_of_every_bucket_equals_the_eager_flow(meanflow: bool, count: int) -> None:  # noqa: FBT001  # A parameter.
    """Padding changes nothing: one token fewer than a bucket holds, as many, and one more give the eager mel."""
    net, stage = planted(meanflow=meanflow)

    assert far(net, stage, count, final=True) < 1e-5


@MODELS
@pytest.mark.parametrize("count", [4, 5, 12, 13, 14, 15, 16, 28, 30, 31, 32, 60])
def test_captured_flow_with_look_ahead_equals_the_eager_flow(meanflow: bool, count: int) -> None:  # noqa: FBT001  # A parameter.
    """When more is to follow, the bucket is that of all tokens, and the solver's frames are fewer."""
    net, stage = planted(meanflow=meanflow)

    assert far(net, stage, count, final=False) < 1e-5


@MODELS
@pytest.mark.parametrize("count", [61, 90])
def test_captured_flow_longer_than_every_bucket_equals_the_eager_flow(meanflow: bool, count: int) -> None:  # noqa: FBT001  # A parameter.
    """What fits no bucket is computed at its own length."""
    net, stage = planted(meanflow=meanflow)

    assert far(net, stage, count, final=True) < 1e-5
    assert far(net, stage, count + 3, final=False) < 1e-5


@MODELS
@pytest.mark.parametrize("final", [False, True])
def test_captured_flow_equals_upstream(meanflow: bool, final: bool) -> None:  # noqa: FBT001  # Parameters.
    """The mel is upstream's for the noise that upstream draws (whose mask is mended for chunks)."""
    net, stage = planted(meanflow=meanflow)
    tokens, forward = tokens_of(25), net.flow.encoder.forward

    def mended(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        hidden, masks = forward(*arguments)
        return hidden, masks if final else masks[:, :, :-6]

    torch.manual_seed(5)
    with patch.object(net.flow.encoder, "forward", mended):
        expected, _ = net.flow.inference(
            token=tokens[None],
            token_len=torch.tensor([len(tokens)]),
            finalize=final,
            n_timesteps=2 if meanflow else 10,
            meanflow=meanflow,
            **upstream_conditionals(net.prompt),
        )
    torch.manual_seed(5)
    noise = torch.randn(80, 2 * PROMPT_TOKENS + mel_frames(len(tokens), final=final))

    assert torch.allclose(expected[0], stage.mel(net.flow, net.prompt, tokens, noise, final=final), atol=1e-5)


@MODELS
def test_captured_flow_of_packed_weights_equals_the_eager_flow(meanflow: bool) -> None:  # noqa: FBT001  # A parameter.
    """The running form changes how weights lie, and nothing else."""
    net, stage = planted(meanflow=meanflow, precision=Precision.FP32)

    assert far(net, stage, 17, final=True) < 1e-5


@MODELS
@pytest.mark.parametrize(("precision", "tolerance"), [(Precision.FP16, 0.01), (Precision.BF16, 0.05)])
def test_captured_flow_in_half_precision_is_near(meanflow: bool, precision: Precision, tolerance: float) -> None:  # noqa: FBT001  # A parameter.
    """Products in 16 bits move the mel, whose deviation is about 1, by little; the mel itself stays fp32."""
    net, stage = planted(meanflow=meanflow, precision=precision)
    full, _ = planted(meanflow=meanflow)
    tokens, noise = tokens_of(14), noise_of(14, final=False)

    got = stage.mel(net.flow, net.prompt, tokens, noise, final=False)
    want = flow_mel(full.flow, full.prompt, tokens, noise, final=False)

    assert torch.float32 == got.dtype
    assert 0 < (want - got).abs().max() < tolerance


def test_captured_flow_keeps_nothing_of_another_decode() -> None:
    """Long and short decodes of several voices in turn give what each gives alone, to the bit."""
    net, stage = planted(meanflow=False)
    generator = torch.Generator().manual_seed(3)
    voices = [
        MelPrompt(
            tokens=torch.randint(0, 6561, (length,), generator=generator),
            mel=smooth_mel(2 * length, generator).T,
            speaker=torch.randn(192, generator=generator),
        )
        for length in (5, 20, 31)
    ]
    decodes = [(voice, tokens_of(count)) for count in (40, 3, 20) for voice in voices]

    def decoded(stage: CapturedFlow, voice: MelPrompt, tokens: torch.Tensor) -> torch.Tensor:
        frames = 2 * (len(voice.tokens) + len(tokens))
        noise = torch.randn(80, frames, generator=torch.Generator().manual_seed(frames))
        return stage.mel(net.flow, voice, tokens, noise, final=True)

    def alone(voice: MelPrompt, tokens: torch.Tensor) -> torch.Tensor:
        fresh = CapturedFlow(EagerGraphs(torch.device("cpu")), buckets=BUCKETS)
        fresh.capture(net.flow)
        return decoded(fresh, voice, tokens)

    in_turn = [decoded(stage, *each) for each in decodes]

    assert all(torch.equal(made, alone(*each)) for made, each in zip(in_turn, decodes, strict=True))


def test_captured_flow_result_is_the_caller_s() -> None:
    """A decode's mel is not overwritten by the next one."""
    net, stage = planted(meanflow=True)
    first = stage.mel(net.flow, net.prompt, tokens_of(10), noise_of(10, final=True), final=True)
    kept = first.clone()

    stage.mel(net.flow, net.prompt, tokens_of(9), noise_of(9, final=True), final=True)

    assert torch.equal(kept, first)


def test_captured_flow_odd_prompt_mel_gives_a_frame_less() -> None:
    """A prompt that is not trimmed is treated as the eager flow treats it."""
    net, stage = planted(meanflow=False)
    odd = MelPrompt(
        tokens=net.prompt.tokens, mel=torch.cat([net.prompt.mel, net.prompt.mel[:1]]), speaker=net.prompt.speaker
    )
    tokens, noise = tokens_of(10), noise_of(10, final=True)

    got = stage.mel(net.flow, odd, tokens, noise, final=True)

    assert (80, 19) == got.shape
    assert torch.allclose(flow_mel(net.flow, odd, tokens, noise, final=True), got, atol=1e-5)


def test_captured_flow_knows_the_module_that_it_is_of() -> None:
    """A module elsewhere is not what was captured: its decode is refused until it is captured anew."""
    net, _ = planted(meanflow=True)
    stage = CapturedFlow(EagerGraphs(torch.device("cpu")), buckets=FlowBuckets((64,)))
    other = copy.deepcopy(net.flow)
    arguments = (net.prompt, tokens_of(4), noise_of(4, final=True))

    assert not stage.is_captured(net.flow)
    stage.capture(net.flow)
    assert stage.is_captured(net.flow)
    assert not stage.is_captured(other)
    with pytest.raises(AssertionError, match="another module"):
        stage.mel(other, *arguments, final=True)
    stage.capture(other)
    assert torch.equal(
        stage.mel(other, *arguments, final=True), planted(meanflow=True)[1].mel(net.flow, *arguments, final=True)
    )


def test_decode_mel_through_the_captured_flow_is_the_eager_stream() -> None:
    """A segment that streams through the captured flow, from captured noise, has the eager one's mel."""
    net, stage = planted(meanflow=False)

    drawn = CapturedNoise(EagerGraphs(torch.device("cpu")), frames=160)
    drawn.capture()

    def streamed(forward: Any, noise: Any) -> torch.Tensor:
        state, made = MelState(), []
        for count in (14, 9, 20):
            state = with_tokens(state, tokens_of(count).tolist())
            random = CounterRandom(seed=1, segment=0)
            last = count == 20
            state, mel = decode_mel(net.flow, state, net.prompt, random, final=last, forward=forward, noise=noise)
            made.append(mel)
        return torch.cat(made, dim=1)

    assert torch.allclose(streamed(flow_mel, mel_noise), streamed(stage.mel, drawn.drawn), atol=1e-4)


def test_flow_buckets_give_the_shortest_that_holds() -> None:
    """A length that a bucket has takes it, and one more the next; past the last there is none."""
    assert [64, 64, 96, 160, None] == [BUCKETS.of_frames(each) for each in (2, 64, 65, 160, 161)]
