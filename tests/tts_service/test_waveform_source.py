"""The excitation: its phase goes on from chunk to chunk, and it is upstream's where upstream's is right."""

import functools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.tiny_s3gen import planted_s3gen
from tts_service.speech.waveform_source import Randomness, carried_source, harmonic_count, upstream_source

START = torch.zeros((), dtype=torch.float64)


@functools.cache
def module() -> Any:
    """Return the source module of planted networks."""
    return planted_s3gen().vocoder.m_source


def f0_of(frames: int, seed: int = 1) -> torch.Tensor:
    """Return an f0 that changes at every frame, voiced and not."""
    return 300 * torch.rand(frames, generator=torch.Generator().manual_seed(seed)) - 20


def randomness_of(frames: int) -> Randomness:
    """Return noise and phases, always the same for the same sample."""
    generator = torch.Generator().manual_seed(3)
    phases = torch.rand(9, generator=generator) * 6 - 3
    return Randomness(phases=phases, noise=torch.randn(480 * frames, 9, generator=generator).T)


def test_harmonic_count_is_nine() -> None:
    """Eight overtones and the fundamental."""
    assert 9 == harmonic_count(module())


def test_upstream_source_equals_upstream() -> None:
    """With the phases and noise that upstream draws, the excitation is its own, bit for bit."""
    f0 = f0_of(50).abs()
    torch.manual_seed(4)
    expected = module()(f0.repeat_interleave(480)[None, :, None])[0][0, :, 0]
    torch.manual_seed(4)
    phases = torch.rand(9) * (2 * math.pi) - math.pi
    phases[0] = 0

    source = upstream_source(module(), f0, Randomness(phases=phases, noise=torch.randn(1, 9, 50 * 480)[0]))

    assert torch.equal(expected, source)


def test_carried_source_follows_upstream_while_float32_can() -> None:
    """Over a second, before float32 has drifted, both add up to the same excitation."""
    f0, randomness = f0_of(50).abs(), randomness_of(50)

    source, _ = carried_source(module(), f0, START, randomness)

    torch.testing.assert_close(upstream_source(module(), f0, randomness), source, atol=2e-4, rtol=0)


@given(frames=st.integers(2, 60), data=st.data())
@settings(deadline=None, max_examples=25)
def test_carried_source_in_two_chunks_equals_one(frames: int, data: st.DataObject) -> None:
    """Wherever a chunk ends, the next goes on without a step."""
    cut = data.draw(st.integers(1, frames - 1))
    f0, drawn = f0_of(frames), randomness_of(frames)
    whole, ends = carried_source(module(), f0, START, drawn)

    head = Randomness(phases=drawn.phases, noise=drawn.noise[:, : cut * 480])
    tail = Randomness(phases=drawn.phases, noise=drawn.noise[:, cut * 480 :])
    first, first_ends = carried_source(module(), f0[:cut], START, head)
    second, second_ends = carried_source(module(), f0[cut:], first_ends[-1], tail)

    torch.testing.assert_close(whole, torch.cat([first, second]), atol=1e-6, rtol=0)
    torch.testing.assert_close(ends, torch.cat([first_ends, second_ends]), atol=1e-9, rtol=0)


def test_carried_source_keeps_its_phase_for_minutes() -> None:
    """After ten minutes of a steady 100.1 Hz, the phase is right to a millionth of a cycle."""
    cycles = START
    for _ in range(60):
        _, ends = carried_source(module(), torch.full((500,), 100.1), cycles, _silent(500))
        cycles = ends[-1]

    exact = torch.tensor(100.1, dtype=torch.float32).double() * 600 % 1
    assert cycles.item() == pytest.approx(exact.item(), abs=1e-6)


def _silent(frames: int) -> Randomness:
    return Randomness(phases=torch.zeros(9), noise=torch.zeros(9, 480 * frames))


def test_carried_source_unvoiced_is_noise_only() -> None:
    """Where f0 is at most 10 Hz, there are no harmonics: without noise the excitation is constant."""
    source, _ = carried_source(module(), torch.full((4,), 10.0), START, _silent(4))

    assert source.max() - source.min() < 1e-6
