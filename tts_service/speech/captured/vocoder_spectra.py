"""The vocoder's short Fourier transforms, there and back, as two small matrices: 16 samples, a step of 4.

Rules
* Upstream's `_stft` and `_istft` are `torch.stft` and `torch.istft`, centred. A transform of 16 samples is a product
  with a matrix of 1 KiB, which a graph holds without plans and workspaces of a library.
* A window of `frames` ends in the middle of what is computed. What is behind its last sample is its reflection, as
  upstream would have it, and its last samples are divided by the envelope of fewer steps.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn import functional

from tts_service.speech.captured.graphs import Graphs
from tts_service.speech.captured.vocoder_operations import Extent
from tts_service.speech.waveform_source import SAMPLES_PER_FRAME

FFT_SAMPLES: Final = 16
HOP_SAMPLES: Final = 4
BINS: Final = FFT_SAMPLES // 2 + 1
HALF: Final = FFT_SAMPLES // 2
"""Upstream's `istft_params`."""

STEPS_PER_FRAME: Final = SAMPLES_PER_FRAME // HOP_SAMPLES


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectrumTables:
    """`analysis` (18, 16): real parts, then imaginary ones. `synthesis` (16, 18) is its inverse; `window` (16, 1)."""

    analysis: torch.Tensor
    synthesis: torch.Tensor
    window_squared: torch.Tensor


def spectrum_tables(graphs: Graphs) -> SpectrumTables:
    """Return the matrices, with the window in them."""
    sample = torch.arange(FFT_SAMPLES, dtype=torch.float64)
    angles = 2 * math.pi / FFT_SAMPLES * torch.arange(BINS, dtype=torch.float64)[:, None] * sample
    window = torch.hann_window(FFT_SAMPLES, dtype=torch.float64)
    analysis = torch.cat([torch.cos(angles), -torch.sin(angles)])
    # The first and the last bin stand for one frequency each, the others also for their mirror images.
    share = torch.full((BINS, 1), 2.0, dtype=torch.float64)
    share[0] = share[-1] = 1.0
    synthesis = (analysis * share.repeat(2, 1) / FFT_SAMPLES).T
    return SpectrumTables(
        analysis=graphs.constant((analysis * window).float().contiguous()),
        synthesis=graphs.constant((synthesis * window[:, None]).float().contiguous()),
        window_squared=graphs.constant(window.square().float()[:, None].contiguous()),
    )


def source_spectrum(tables: SpectrumTables, source: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Return the spectrum (1, 18, 120 n + 1) of an excitation (480 n,) of which `frames` are a window's."""
    last = frames * SAMPLES_PER_FRAME - 1
    place = torch.arange(-HALF, len(source) + HALF, device=source.device).abs()
    place = torch.where(place > last, 2 * last - place, place).clamp(0, len(source) - 1)
    pieces = source[place].unfold(0, FFT_SAMPLES, HOP_SAMPLES)
    spectrum = tables.analysis @ pieces.T
    return torch.where(_extent(frames).holds(spectrum.shape[1]), spectrum, 0.0)[None]


def sounded_spectrum(tables: SpectrumTables, spectrum: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Return the waveform (480 n,) of a spectrum (18, 120 n + 1); what is beyond the window's end is anything."""
    held = _extent(frames).holds(spectrum.shape[1])
    wave = _overlapped(torch.where(held, tables.synthesis @ spectrum, 0.0))
    envelope = _overlapped(tables.window_squared * held)
    return wave / torch.where(envelope > 0, envelope, 1.0)


def _overlapped(pieces: torch.Tensor) -> torch.Tensor:
    """Return the sum of pieces (16, steps) that begin 4 samples apart, without half a piece at either end."""
    samples = HOP_SAMPLES * (pieces.shape[1] - 1) + FFT_SAMPLES
    joined = functional.fold(pieces[None], (1, samples), (1, FFT_SAMPLES), stride=(1, HOP_SAMPLES))
    return joined[0, 0, 0, HALF : samples - HALF]


def _extent(frames: torch.Tensor) -> Extent:
    return Extent(frames=frames, rate=STEPS_PER_FRAME, extra=1)
