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
    """Return the spectra (windows, 18, 120 n + 1) of excitations (windows, 480 n); `frames` (windows,) are real."""
    last = (frames * SAMPLES_PER_FRAME - 1)[:, None]
    samples = source.shape[1]
    place = torch.arange(-HALF, samples + HALF, device=source.device).abs()
    place = torch.where(place > last, 2 * last - place, place).clamp(0, samples - 1)
    pieces = source.gather(1, place).unfold(1, FFT_SAMPLES, HOP_SAMPLES)
    spectrum = each_multiplied(tables.analysis, pieces.transpose(1, 2))
    return torch.where(_extent(frames).holds(spectrum.shape[2]), spectrum, 0.0)


def sounded_spectrum(tables: SpectrumTables, spectrum: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Return the waveforms (windows, 480 n) of spectra (windows, 18, 120 n + 1); beyond a window's end is anything."""
    held = _extent(frames).holds(spectrum.shape[2])
    wave = _overlapped(torch.where(held, each_multiplied(tables.synthesis, spectrum), 0.0))
    envelope = _overlapped(tables.window_squared * held)
    return wave / torch.where(envelope > 0, envelope, 1.0)


def each_multiplied(matrix: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return a matrix by each of some others (windows, rows, columns).

    One window is multiplied as a matrix by itself: as it was before there could be several, and so to the same bits.
    """
    return (matrix @ values[0])[None] if len(values) == 1 else matrix @ values


def _overlapped(pieces: torch.Tensor) -> torch.Tensor:
    """Return sums of pieces (windows, 16, steps) that begin 4 samples apart, without half a piece at either end."""
    samples = HOP_SAMPLES * (pieces.shape[2] - 1) + FFT_SAMPLES
    joined = functional.fold(pieces, (1, samples), (1, FFT_SAMPLES), stride=(1, HOP_SAMPLES))
    return joined[:, 0, 0, HALF : samples - HALF]


def _extent(frames: torch.Tensor) -> Extent:
    return Extent(frames=frames, rate=STEPS_PER_FRAME, extra=1)
