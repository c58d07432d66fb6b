"""The excitation of a window's new frames, with everything that differs between windows in tensors.

`waveform_source` says what it is. Here a window of fixed length holds frames whose excitation is there already, then
new ones, then frames that are none; phases and noise are hashed on the spot, the same bits as `CounterRandom`'s.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from tts_service.speech.random_source import phases_of, source_noise_of
from tts_service.speech.waveform_source import (
    SAMPLES_PER_FRAME,
    Randomness,
    carried_source,
    harmonic_count,
)
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceWindow:
    """What a window's excitation depends on beside f0. All are scalars on the device, int64 but for `cycles`.

    `frames` are the window's, those from `fresh_from` on are new, and the first of all is the segment's `start_frame`.
    `cycles` is the phase (float64) before the new ones.
    """

    frames: torch.Tensor
    fresh_from: torch.Tensor
    start_frame: torch.Tensor
    phase_key: torch.Tensor
    noise_key: torch.Tensor
    cycles: torch.Tensor


class Excitation(Protocol):
    """How an excitation is computed on one device."""

    def __call__(self, module: Any, f0: torch.Tensor, window: SourceWindow) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the excitation (480 n,) of frames with this f0 (n,), and the phase after each of them (n,).

        Only new frames have one; what stands in the place of the others is anything, but finite.
        """
        ...


def plain_excitation(module: Any, f0: torch.Tensor, window: SourceWindow) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute it as `carried_source` does, over the whole window."""
    samples, harmonics = SAMPLES_PER_FRAME * len(f0), harmonic_count(module)
    noise = source_noise_of(window.noise_key, window.start_frame * SAMPLES_PER_FRAME, samples, harmonics)
    drawn = Randomness(phases=phases_of(window.phase_key, harmonics), noise=noise)
    return carried_source(module, fresh_f0(f0, window), window.cycles, drawn)


def fresh_f0(f0: torch.Tensor, window: SourceWindow) -> torch.Tensor:
    """Return f0 of a window's new frames, and 0 elsewhere, where the phase then stands still."""
    place = torch.arange(len(f0), device=f0.device)
    return torch.where((place >= window.fresh_from) & (place < window.frames), f0, 0.0)


def frame_phases(f0: torch.Tensor, window: SourceWindow) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the cycles in a sample of each frame, and the phase before and after it: float64, not yet wrapped."""
    each = fresh_f0(f0, window).double() / MODEL_SAMPLE_RATE_HERTZ
    ends = window.cycles + torch.cumsum(each * SAMPLES_PER_FRAME, dim=0)
    return each, torch.cat([window.cycles.reshape(1), ends[:-1]]), ends
