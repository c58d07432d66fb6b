"""The mel's noise in one piece of captured work."""

import pytest
import torch

from tts_service.speech.captured.flow_noise import CapturedNoise
from tts_service.speech.captured.graphs import EagerGraphs
from tts_service.speech.mel import mel_noise
from tts_service.speech.random_source import CounterRandom, UpstreamRandom


@pytest.mark.parametrize(("prompt", "start", "count"), [(40, 0, 20), (40, 86, 56), (0, 1_000_000, 96), (96, 5, 0)])
def test_captured_noise_has_the_bits_of_the_eager_noise(prompt: int, start: int, count: int) -> None:
    """The prompt's noise and the window's, which may begin far from it, are the random source's to the bit."""
    noise, random = CapturedNoise(EagerGraphs(torch.device("cpu")), frames=96), CounterRandom(seed=2**40 + 5, segment=3)
    noise.capture()

    assert torch.equal(mel_noise(random, prompt, start, count), noise.drawn(random, prompt, start, count))


def test_captured_noise_of_another_source_or_too_long_is_drawn_eagerly() -> None:
    """What the graph cannot draw has the eager noise's bits all the same."""
    noise, counted = CapturedNoise(EagerGraphs(torch.device("cpu")), frames=8), CounterRandom(seed=1, segment=0)
    noise.capture()
    upstream = UpstreamRandom(torch.Generator().manual_seed(3))
    upstream.draw_mel(prompt_frames=4, frame_count=4, meanflow=False)

    assert torch.equal(mel_noise(counted, 6, 0, 6), noise.drawn(counted, 6, 0, 6))
    assert torch.equal(mel_noise(upstream, 4, 0, 4), noise.drawn(upstream, 4, 0, 4))


def test_captured_noise_differs_by_segment() -> None:
    """Another segment's key gives other noise from the same work."""
    noise = CapturedNoise(EagerGraphs(torch.device("cpu")), frames=8)
    noise.capture()

    first = noise.drawn(CounterRandom(seed=1, segment=0), 0, 0, 8).clone()

    assert not torch.allclose(first, noise.drawn(CounterRandom(seed=1, segment=1), 0, 0, 8))
