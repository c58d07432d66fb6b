"""The watermark of windows of audio, many at once, without leaving their sample rate.

Rules
* The mark is a change below 2 kHz, made of frames of 64 ms. Perth computes it at 32 kHz; the same frames at 24 kHz
  hold the same frequencies, so that neither way needs resampling, and what is above 2 kHz is not touched at all.
  Against Perth's own way, which resamples all of the audio twice, the mark itself differs by -120 dB, and by -60 dB in
  the first millisecond of a clip, where resampling rings.
* Windows have room for WINDOW_FRAMES and begin at its start. What is behind a window's end is as if it were not there:
  its last samples are reflected there, and its frames are zero for every convolution.
* Every batch has the same shape, whatever it holds, so that a window has the same bits in any company.
"""

import math
from typing import Any, Final

import torch
from torch.nn import functional

from tts_service.models.perth import FFT_SAMPLES as PERTH_FFT_SAMPLES
from tts_service.models.perth import FRAME_SAMPLES, MIN_FRAMES, PERTH_SAMPLE_RATE_HERTZ
from tts_service.speech.watermark import BLOCK_SAMPLES, HISTORY_SAMPLES, LOOK_AHEAD_SAMPLES
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ

FFT_SAMPLES: Final = PERTH_FFT_SAMPLES * MODEL_SAMPLE_RATE_HERTZ // PERTH_SAMPLE_RATE_HERTZ
"""1,536: Perth's 64 ms."""

HALF: Final = FFT_SAMPLES // 2
WINDOW_SAMPLES: Final = HISTORY_SAMPLES + BLOCK_SAMPLES + LOOK_AHEAD_SAMPLES
WINDOW_FRAMES: Final = WINDOW_SAMPLES // FRAME_SAMPLES
STEPS: Final = WINDOW_FRAMES + 1

_LEVEL_SCALE: Final = PERTH_FFT_SAMPLES / FFT_SAMPLES
"""Perth adds up 4 samples where we have 3."""

_FLOOR: Final = 1e-9
_FLOOR_DECIBELS: Final = -180.0
_SPAN_DECIBELS: Final = 195.0
"""The levels that Perth's networks see, see `models.perth`."""


def cosines() -> torch.Tensor:
    """Return one turn of a cosine (1536,), of which everything else here is made: 6 KiB."""
    turn = torch.arange(FFT_SAMPLES, dtype=torch.float64) * (2 * math.pi / FFT_SAMPLES)
    return torch.cos(turn).float()


def marked_windows(encoder: Any, cosine: torch.Tensor, audio: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
    """Return windows (batch, 13200) with their marks; `samples` (batch,) of each are audio, and zeros follow them.

    `encoder` is a `PerthEncoder`. Behind a window's end there is anything.
    """
    frames = ((samples + FRAME_SAMPLES - 1) // FRAME_SAMPLES).clamp_min(MIN_FRAMES)
    held = torch.arange(STEPS, device=audio.device) < frames[:, None] + 1
    basis = _basis(cosine, encoder.network.subband)
    spectrum = _pieces(audio, frames) @ basis
    change = _gain(encoder, spectrum, held) * spectrum
    return audio + _synthesised(change, basis, _hann(cosine), held)


def _hann(cosine: torch.Tensor) -> torch.Tensor:
    return 0.5 - 0.5 * cosine


def _basis(cosine: torch.Tensor, bins: int) -> torch.Tensor:
    """Return the windowed transform (1536, 2 * bins): real parts, then imaginary ones. Made anew, not kept: 1.5 MiB."""
    sample = torch.arange(FFT_SAMPLES, device=cosine.device)
    turns = sample[:, None] * torch.arange(bins, device=cosine.device)
    # A cosine a quarter further is a sine with its sign turned.
    places = torch.cat([turns, turns + FFT_SAMPLES // 4], dim=1) % FFT_SAMPLES
    return cosine[places] * _hann(cosine)[:, None]


def _pieces(audio: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Return the pieces (batch, steps, 1536) of windows, centred on each frame's start, reflected at both ends."""
    last = (frames * FRAME_SAMPLES - 1)[:, None]
    place = torch.arange(-HALF, WINDOW_SAMPLES + HALF, device=audio.device).abs()[None]
    place = torch.where(place > last, 2 * last - place, place).clamp(0, WINDOW_SAMPLES - 1)
    return audio.gather(1, place).unfold(1, FFT_SAMPLES, FRAME_SAMPLES).contiguous()


def _gain(encoder: Any, spectrum: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
    """Return what the spectrum (batch, steps, 2 * bins) is to be multiplied with to be the change that marks it."""
    real, imaginary = spectrum.chunk(2, dim=2)
    magnitude = torch.hypot(real, imaginary) * _LEVEL_SCALE
    hidden = (20 * torch.log10(magnitude.clamp_min(_FLOOR)) - _FLOOR_DECIBELS) / _SPAN_DECIBELS
    for layer in encoder.network.layers:
        hidden = _convolved(layer.conv, torch.where(held[:, :, None], hidden, 0.0))
        if layer.act:
            hidden = layer.act(hidden)
    gain = torch.pow(10.0, hidden * (_SPAN_DECIBELS / 20)) - 1.0
    return torch.where(held[:, :, None], gain, 0.0).repeat(1, 1, 2)


def _convolved(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Return a convolution of (batch, steps, channels) as one matrix product."""
    batch, steps, channels = hidden.shape
    taps = layer.weight.shape[2]
    if taps > 1:
        hidden = functional.pad(hidden, (0, 0, taps // 2, taps // 2)).unfold(1, taps, 1)
    columns = hidden.reshape(batch * steps, channels * taps)
    return torch.addmm(layer.bias, columns, layer.weight.flatten(1).T).view(batch, steps, -1)


def _synthesised(change: torch.Tensor, basis: torch.Tensor, window: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
    """Return the signals (batch, 13200) of spectra (batch, steps, 2 * bins)."""
    # Every bin but the first also stands for its mirror image.
    change = change * (2.0 / FFT_SAMPLES)
    first = torch.arange(change.shape[2], device=change.device) % (change.shape[2] // 2) == 0
    change = torch.where(first, change * 0.5, change)
    signal = _overlapped(basis @ change.transpose(1, 2))
    envelope = _overlapped(window.square()[None, :, None] * held[:, None])
    return signal / torch.where(envelope > 0, envelope, 1.0)


def _overlapped(pieces: torch.Tensor) -> torch.Tensor:
    """Return the sums (batch, 13200) of pieces (batch, 1536, steps) that begin a frame apart, centred on its start."""
    whole = FRAME_SAMPLES * WINDOW_FRAMES + FFT_SAMPLES
    joined = functional.fold(pieces, (1, whole), (1, FFT_SAMPLES), stride=(1, FRAME_SAMPLES))
    return joined[:, 0, 0, HALF : HALF + WINDOW_SAMPLES]
