"""Sounds with known properties, the same every time."""

import numpy as np

from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, Waveform


def speechlike(length: int, *, seed: int = 1, peak: float = 0.5) -> Waveform:
    """Return harmonics of a wandering pitch in syllables, below 3.4 kHz, at the models' rate."""
    random = np.random.default_rng(seed)
    seconds = np.arange(length) / MODEL_SAMPLE_RATE_HERTZ
    pitch = 140 + 30 * np.sin(2 * np.pi * 0.7 * seconds + random.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch) / MODEL_SAMPLE_RATE_HERTZ
    tones = sum(np.sin(k * phase + random.uniform(0, 6)) / k for k in range(1, 20))
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * seconds + random.uniform(0, 6))
    wave = np.asarray(tones * syllables)
    return (peak * wave / max(1e-9, float(np.abs(wave).max(initial=0)))).astype(np.float32)
