"""The excitation that the vocoder shapes into sound: harmonics of f0 where the voice sounds, noise where it does not.

Upstream adds up the phase from zero in every call, in float32. Here the phase is carried from chunk to chunk, in
float64, so that there is no step where one ends; noise belongs to the absolute sample.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import torch

from tts_service.types import MODEL_SAMPLE_RATE_HERTZ

SAMPLES_PER_FRAME: Final = 480
"""24,000 samples and 50 frames a second: upsampled by 8, 5 and 3 with a hop of 4."""


class SineGenerator(Protocol):
    """Upstream's `SineGen`, of which only the numbers are used."""

    harmonic_num: int
    sine_amp: float
    noise_std: float
    voiced_threshold: float


class SourceModule(Protocol):
    """Upstream's `SourceModuleHnNSF`: the weights that mix the harmonics."""

    l_sin_gen: SineGenerator
    l_linear: Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Randomness:
    """What is random in an excitation: the harmonics' phases (harmonics,), and noise (harmonics, samples)."""

    phases: torch.Tensor
    noise: torch.Tensor


def harmonic_count(module: SourceModule) -> int:
    """Return how many harmonics there are, the fundamental included: 9."""
    return module.l_sin_gen.harmonic_num + 1


def carried_source(
    module: SourceModule, f0: torch.Tensor, cycles: torch.Tensor, randomness: Randomness
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the excitation (samples,) of frames with this `f0` (frames,), and the phase after each of them (frames,).

    `cycles` is the fundamental's phase before them, a float64 scalar in [0, 1). The others follow from it, since a
    harmonic's phase is a whole multiple.
    """
    per_sample = f0.double() / MODEL_SAMPLE_RATE_HERTZ
    ends = cycles + torch.cumsum(per_sample * SAMPLES_PER_FRAME, dim=0)
    starts = torch.cat([cycles.reshape(1), ends[:-1]])
    steps = torch.arange(1, SAMPLES_PER_FRAME + 1, device=f0.device, dtype=torch.float64)
    fundamental = (starts[:, None] + per_sample[:, None] * steps).reshape(-1)
    harmonics = torch.arange(1, harmonic_count(module) + 1, device=f0.device, dtype=torch.float64)
    turns = (harmonics[:, None] * fundamental).remainder(1.0)
    return _excitation(module, f0, 2 * torch.pi * turns.float(), randomness), ends.remainder(1.0)


def upstream_source(module: SourceModule, f0: torch.Tensor, randomness: Randomness) -> torch.Tensor:
    """Return the excitation (samples,) of a whole utterance, with upstream's own rounding."""
    sampled = f0.repeat_interleave(SAMPLES_PER_FRAME)
    turns = torch.stack([sampled * k / MODEL_SAMPLE_RATE_HERTZ for k in range(1, harmonic_count(module) + 1)])
    return _excitation(module, f0, 2 * torch.pi * (torch.cumsum(turns, dim=1) % 1), randomness)


def _excitation(module: SourceModule, f0: torch.Tensor, angles: torch.Tensor, randomness: Randomness) -> torch.Tensor:
    """Return (samples,): sines at these angles (harmonics, samples) where voiced, mixed by the module's weights.

    Noise is strong where there is no voice (a third of the sines' amplitude) and soft where there is.
    """
    numbers = module.l_sin_gen
    voiced = (f0 > numbers.voiced_threshold).float().repeat_interleave(SAMPLES_PER_FRAME)
    sines = numbers.sine_amp * torch.sin(angles + randomness.phases[:, None])
    amplitude = voiced * numbers.noise_std + (1 - voiced) * numbers.sine_amp / 3
    mixed = module.l_linear((sines * voiced + amplitude * randomness.noise)[None].transpose(1, 2))
    return torch.tanh(mixed)[0, :, 0]
