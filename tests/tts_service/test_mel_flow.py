"""Our forward over the flow network against upstream's, with the same tokens and noise."""

import functools
from typing import Any
from unittest.mock import patch

import pytest
import torch

from tests.fakes.tiny_s3gen import TinyS3Gen, planted_s3gen, smooth_mel, upstream_conditionals
from tts_service.speech.mel_flow import MelPrompt, flow_mel, mel_frames

MODELS = pytest.mark.parametrize("meanflow", [False, True], ids=["guided", "meanflow"])


@functools.cache
def planted(*, meanflow: bool, odd_frames: int = 0) -> TinyS3Gen:
    """Return networks that the tests of this file share; nothing changes them."""
    return planted_s3gen(meanflow=meanflow, odd_frames=odd_frames)


def tokens_of(count: int) -> torch.Tensor:
    """Return any tokens, always the same."""
    return torch.randint(0, 6561, (count,), generator=torch.Generator().manual_seed(count))


def upstream_mel(net: TinyS3Gen, tokens: torch.Tensor, *, finalize: bool) -> torch.Tensor:
    """Return what upstream's inference gives for torch's random state after seed 5."""
    torch.manual_seed(5)
    meanflow = net.flow.decoder.estimator.meanflow
    mel, _ = net.flow.inference(
        token=tokens[None],
        token_len=torch.tensor([len(tokens)]),
        finalize=finalize,
        n_timesteps=2 if meanflow else 10,
        meanflow=meanflow,
        **upstream_conditionals(net.prompt),
    )
    return mel[0]


def our_mel(net: TinyS3Gen, tokens: torch.Tensor, *, final: bool) -> torch.Tensor:
    """Return what our forward gives for the noise that upstream draws after seed 5."""
    torch.manual_seed(5)
    frames = 2 * len(net.prompt.tokens) + mel_frames(len(tokens), final=final)
    return flow_mel(net.flow, net.prompt, tokens, torch.randn(80, frames), final=final)


@MODELS
@pytest.mark.parametrize("count", [1, 2, 25, 60])
def test_flow_mel_of_a_whole_segment_equals_upstream(meanflow: bool, count: int) -> None:  # noqa: FBT001 - a parameter.
    """With no token to follow, our mel is upstream's for the same noise, bit for bit."""
    net, tokens = planted(meanflow=meanflow), tokens_of(count)

    expected = upstream_mel(net, tokens, finalize=True)

    assert (80, 2 * count) == expected.shape
    assert torch.equal(expected, our_mel(net, tokens, final=True))


@MODELS
@pytest.mark.parametrize("count", [4, 14, 40])
def test_flow_mel_of_a_chunk_equals_upstream_with_its_mask_mended(meanflow: bool, count: int) -> None:  # noqa: FBT001 - a parameter.
    """With tokens to follow, our mel is what upstream's would be if its mask were as long as what it masks."""
    net, tokens = planted(meanflow=meanflow), tokens_of(count)
    forward = net.flow.encoder.forward

    def mended(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        hidden, masks = forward(*arguments)
        return hidden, masks[:, :, :-6]

    with patch.object(net.flow.encoder, "forward", mended):
        expected = upstream_mel(net, tokens, finalize=False)

    assert (80, 2 * (count - 3)) == expected.shape
    assert torch.equal(expected, our_mel(net, tokens, final=False))


def test_upstream_fails_on_chunks() -> None:
    """The reason for our own forward: upstream's fails when tokens are to follow."""
    with pytest.raises(RuntimeError, match="must match the existing size"):
        upstream_mel(planted(meanflow=False), tokens_of(14), finalize=False)


def test_flow_mel_odd_prompt_mel_gives_a_frame_less_like_upstream() -> None:
    """A prompt with an odd frame more is upstream's to the bit, too: one frame less comes out."""
    net, tokens = planted(meanflow=False, odd_frames=1), tokens_of(10)

    expected = upstream_mel(net, tokens, finalize=True)

    assert (80, 19) == expected.shape
    assert torch.equal(expected, our_mel(net, tokens, final=True))


def test_prompt_trimmed_has_two_frames_a_token() -> None:
    """Trimming takes the odd frame away and nothing else."""
    prompt = planted(meanflow=False, odd_frames=1).prompt

    trimmed = prompt.trimmed()

    assert (40, 80) == trimmed.mel.shape
    assert torch.equal(prompt.mel[:40], trimmed.mel)
    assert trimmed.trimmed() is trimmed


def test_prompt_from_upstream_takes_tokens_of_any_type() -> None:
    """Upstream turns a prompt's tokens into floats when it moves them; they are whole numbers again here."""
    prompt = planted(meanflow=False).prompt
    conditionals = upstream_conditionals(prompt) | {"prompt_token": prompt.tokens[None].float()}

    taken = MelPrompt.from_upstream(conditionals)

    assert torch.equal(prompt.tokens, taken.tokens)
    assert torch.equal(prompt.mel, taken.mel)
    assert torch.equal(prompt.speaker, taken.speaker)


def test_flow_mel_depends_on_tokens_prompt_speaker_and_noise() -> None:
    """Each thing that the mel is made from changes it: nothing is dropped on the way."""
    net, tokens = planted(meanflow=False), tokens_of(12)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(80, 64, generator=generator)
    prompt = net.prompt
    changed = [
        flow_mel(net.flow, prompt, tokens.flip(0), noise, final=True),
        flow_mel(net.flow, prompt, tokens, noise.flip(1), final=True),
        flow_mel(
            net.flow,
            MelPrompt(tokens=prompt.tokens, mel=smooth_mel(40, generator).T, speaker=prompt.speaker),
            tokens,
            noise,
            final=True,
        ),
        flow_mel(
            net.flow,
            MelPrompt(tokens=prompt.tokens, mel=prompt.mel, speaker=-prompt.speaker),
            tokens,
            noise,
            final=True,
        ),
    ]

    same = flow_mel(net.flow, prompt, tokens, noise, final=True)

    assert [False] * 4 == [torch.allclose(same, each, atol=1e-4) for each in changed]
