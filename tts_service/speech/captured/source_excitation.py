"""The excitation of windows' new frames, with everything that differs between windows in tensors.

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
    """What windows' excitations depend on beside f0. All are (windows,) on the device, int64 but for `cycles`.

    `frames` are a window's, those from `fresh_from` on are new, and the first of all is the segment's `start_frame`.
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
        """Return excitations (windows, 480 n) of frames with this f0 (windows, n), and the phase after each frame.

        Only new frames have one; what stands in the place of the others is anything, but finite.
        """
        ...


def plain_excitation(module: Any, f0: torch.Tensor, window: SourceWindow) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute it as `carried_source` does, over each whole window."""
    samples, harmonics = SAMPLES_PER_FRAME * f0.shape[1], harmonic_count(module)
    sources, ends = list[torch.Tensor](), list[torch.Tensor]()
    for row, fresh in enumerate(fresh_f0(f0, window)):
        noise = source_noise_of(window.noise_key[row], window.start_frame[row] * SAMPLES_PER_FRAME, samples, harmonics)
        drawn = Randomness(phases=phases_of(window.phase_key[row], harmonics), noise=noise)
        source, end = carried_source(module, fresh, window.cycles[row], drawn)
        sources.append(source)
        ends.append(end)
    return torch.stack(sources), torch.stack(ends)


def fresh_f0(f0: torch.Tensor, window: SourceWindow) -> torch.Tensor:
    """Return f0 of windows' new frames, and 0 elsewhere, where the phase then stands still."""
    place = torch.arange(f0.shape[1], device=f0.device)
    return torch.where((place >= window.fresh_from[:, None]) & (place < window.frames[:, None]), f0, 0.0)


def frame_phases(f0: torch.Tensor, window: SourceWindow) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the cycles in a sample of each frame, and the phase before and after it: float64, not yet wrapped.

    All are (windows, n). One window is added up as it was before there could be several: a library may do it in
    another order for many.
    """
    each = fresh_f0(f0, window).double() / MODEL_SAMPLE_RATE_HERTZ
    turned = each * SAMPLES_PER_FRAME
    summed = turned[0].cumsum(dim=0)[None] if len(turned) == 1 else turned.cumsum(dim=1)
    ends = window.cycles[:, None] + summed
    return each, torch.cat([window.cycles[:, None], ends[:, :-1]], dim=1), ends
