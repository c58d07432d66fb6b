"""Eight seconds of something like a voice, as a file: what voices are created from where no recording is at hand."""

import wave
from pathlib import Path

import numpy as np

from tts_service.types import Waveform

RATE_HERTZ = 24_000
SECONDS = 8
HARMONICS = 12
HERTZ = (130.0, 45.0)
"""The pitch, and how far it swings."""


def write_reference(path: Path, *, seconds: int = SECONDS) -> None:
    """Write a WAV file of 16 bits: harmonics of a swinging pitch, in syllables, over a little noise."""
    time = np.arange(seconds * RATE_HERTZ) / RATE_HERTZ
    pitch = HERTZ[0] + HERTZ[1] * np.sin(2 * np.pi * 0.4 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HERTZ
    tones = sum(np.sin(k * phase) / k**1.2 for k in range(1, HARMONICS + 1))
    syllables = np.clip(0.55 + 0.6 * np.sin(2 * np.pi * 3.1 * time), 0.0, 1.0)
    noise = np.random.default_rng(0).normal(size=len(time))
    samples = 0.18 * tones * syllables + 0.004 * noise
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HERTZ)
        file.writeframes((samples.clip(-1, 1) * 32_767).astype("<i2").tobytes())


def reference_samples(path: Path) -> Waveform:
    """Return the file's samples as upstream's reader gives them: float32, 1 is 32768."""
    with wave.open(str(path), "rb") as file:
        content = file.readframes(file.getnframes())
    return (np.frombuffer(content, dtype="<i2") / 32_768).astype(np.float32)
