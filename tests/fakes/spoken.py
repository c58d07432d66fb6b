"""Real speech for tests: the built-in voice's, made once per process."""

from functools import cache
from typing import Any

import numpy as np
from hibari import Hibari

from tts_service.types import Waveform

ONSET_PEAK = 1e-3


@cache
def _voice() -> Any:
    return Hibari()


@cache
def spoken(text: str, *, seed: int = 1, gain: float = 1.0) -> Waveform:
    """Return the speech of a text without the silence before it, scaled; read-only, because tests share it."""
    wave = _voice()(text, seed=seed)
    onset = int(np.flatnonzero(np.abs(wave) > ONSET_PEAK)[0])
    scaled: Waveform = np.clip(wave[onset:] * np.float32(gain), -1, 1).astype(np.float32)
    scaled.setflags(write=False)
    return scaled
