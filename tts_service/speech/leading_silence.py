"""The silence before a segment's first audible sample, taken away, whether sound is on the host or on a device."""

import numpy as np
import torch

from tts_service.speech.speech_model import Sound
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ

SILENCE_PEAK = 10 ** (-50 / 20)
"""Samples below -50 dBFS at a segment's start are silence; speech onsets are above it within a frame."""

KEPT_LEAD_SAMPLES = MODEL_SAMPLE_RATE_HERTZ // 100
"""10 ms of the silence before speech stay, so that a soft onset is not cut."""


class LeadingSilence:
    """Takes away the silence before a segment's first audible sample, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._kept: Sound | None = np.zeros(0, np.float32)

    def trimmed(self, wave: Sound) -> Sound:
        """Return what is to be heard of the next piece: nothing of silence, but for its end once speech follows."""
        if self._kept is None:
            return wave
        wave = _joined(self._kept, wave)
        audible = _first_audible(wave)
        if audible is not None:
            self._kept = None
            return wave[max(0, audible - KEPT_LEAD_SAMPLES) :]
        self._kept = wave[-KEPT_LEAD_SAMPLES:]
        return wave[:0]

    def __repr__(self) -> str:
        return f"<LeadingSilence {'over' if self._kept is None else 'lasts'}>"


def _joined(kept: Sound, wave: Sound) -> Sound:
    if isinstance(wave, torch.Tensor):
        return torch.cat([torch.as_tensor(kept, device=wave.device), wave]) if len(kept) else wave
    return np.concatenate([kept, wave])


def _first_audible(wave: Sound) -> int | None:
    """Return where the first audible sample is, if any; sound on a device is waited for.

    What is no number is not silence: it goes on to where it is refused.
    """
    if isinstance(wave, torch.Tensor):
        # One transfer: argmax finds the first of equal values, and the peak tells whether there is one.
        loud = ~(wave.abs() <= SILENCE_PEAK)
        place = int(torch.where(loud.any(), loud.int().argmax(), -1)) if len(wave) else -1
        return None if place < 0 else place
    audible = np.flatnonzero(~(np.abs(wave) <= SILENCE_PEAK))
    return int(audible[0]) if len(audible) else None
