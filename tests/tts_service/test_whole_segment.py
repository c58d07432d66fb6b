"""A segment at once, in upstream's order, against upstream's functions with the same state of torch's generators."""

import functools
from typing import Any

import pytest
import torch

from tests.fakes.tiny_s3gen import TinyS3Gen, planted_s3gen, upstream_conditionals, upstream_s3gen
from tts_service.speech.random_source import UpstreamRandom
from tts_service.speech.whole_segment import upstream_mel, upstream_speech, upstream_waveform

MODELS = pytest.mark.parametrize("meanflow", [False, True], ids=["guided", "meanflow"])


@functools.cache
def planted(*, meanflow: bool, odd_frames: int = 0) -> TinyS3Gen:
    """Return networks that the tests of this file share; nothing changes them."""
    return planted_s3gen(meanflow=meanflow, odd_frames=odd_frames)


@functools.cache
def upstream(*, meanflow: bool) -> Any:
    """Return upstream's S3Token2Wav around the same networks."""
    return upstream_s3gen(planted(meanflow=meanflow))


def tokens_of(count: int) -> list[int]:
    """Return any tokens, always the same."""
    return torch.randint(0, 6561, (count,), generator=torch.Generator().manual_seed(count)).tolist()


def test_planted_voice_sounds_and_pauses() -> None:
    """The networks voice up to 250 Hz with unvoiced stretches, and do not clip: they can test speech."""
    net = planted(meanflow=False)
    mel = upstream_mel(net.flow, net.prompt, tokens_of(100), UpstreamRandom(torch.Generator().manual_seed(1)))

    f0 = net.vocoder.f0_predictor(mel[None])[0]
    wave = upstream_waveform(net.vocoder, mel, UpstreamRandom(torch.Generator().manual_seed(1)))

    assert 0.5 < (f0 > 80).float().mean() < 0.95
    assert 0.03 < (f0 < 10).float().mean() < 0.4
    assert f0.max() < 260
    assert 0.2 < wave.abs().max()
    assert (wave.abs() >= 0.99).float().mean() < 1e-3
    assert abs(wave.mean()) < 0.3 * wave.std()


@pytest.mark.parametrize("frames", [1, 2, 30, 101])
def test_upstream_waveform_equals_upstream(frames: int) -> None:
    """The vocoder's waveform is upstream's for the same random state, bit for bit."""
    net = planted(meanflow=False)
    mel = torch.randn(80, frames, generator=torch.Generator().manual_seed(frames))
    torch.manual_seed(9)
    expected, _ = net.vocoder.inference(speech_feat=mel[None])
    torch.manual_seed(9)

    wave = upstream_waveform(net.vocoder, mel, UpstreamRandom())

    assert (480 * frames,) == wave.shape
    assert torch.equal(expected[0], wave)


@MODELS
@pytest.mark.parametrize("count", [1, 3, 40])
def test_upstream_speech_equals_upstream(meanflow: bool, count: int) -> None:  # noqa: FBT001 - a parameter.
    """The whole way from tokens to samples is upstream's for the same random state, fade included, bit for bit."""
    net, tokens = planted(meanflow=meanflow), tokens_of(count)
    torch.manual_seed(3)
    expected, _ = upstream(meanflow=meanflow).inference(
        speech_tokens=torch.tensor(tokens), ref_dict=upstream_conditionals(net.prompt)
    )
    torch.manual_seed(3)

    wave = upstream_speech(net.flow, net.vocoder, net.prompt, tokens, UpstreamRandom())

    assert (960 * count,) == wave.shape
    assert torch.equal(expected[0], wave)


@MODELS
def test_upstream_speech_odd_prompt_equals_upstream(meanflow: bool) -> None:  # noqa: FBT001 - a parameter.
    """With the prompt as upstream leaves it, even the frame that is missing is missing."""
    net, tokens = planted(meanflow=meanflow, odd_frames=1), tokens_of(10)
    theirs = upstream_s3gen(net)
    torch.manual_seed(3)
    expected, _ = theirs.inference(speech_tokens=torch.tensor(tokens), ref_dict=upstream_conditionals(net.prompt))
    torch.manual_seed(3)

    wave = upstream_speech(net.flow, net.vocoder, net.prompt, tokens, UpstreamRandom())

    assert (9_120,) == wave.shape
    assert torch.equal(expected[0], wave)


def test_upstream_speech_draws_as_much_as_upstream() -> None:
    """Afterwards the generator is where upstream leaves it, so that what comes next is upstream's, too."""
    net, tokens = planted(meanflow=False), tokens_of(5)
    torch.manual_seed(3)
    upstream(meanflow=False).inference(speech_tokens=torch.tensor(tokens), ref_dict=upstream_conditionals(net.prompt))
    expected = torch.rand(1)
    torch.manual_seed(3)

    upstream_speech(net.flow, net.vocoder, net.prompt, tokens, UpstreamRandom())

    assert torch.equal(expected, torch.rand(1))
