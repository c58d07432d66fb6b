"""Stand-ins for the watermark's two modules that compute in no time and hold their users to the real ones' rules."""

import numpy as np

from tts_service.errors import Reason, ServiceError
from tts_service.speech.watermark import HISTORY_SAMPLES, LOOK_AHEAD_SAMPLES
from tts_service.types import Waveform

FRAME_SAMPLES = 240
MAX_WINDOW_SAMPLES = HISTORY_SAMPLES + 3_840 + LOOK_AHEAD_SAMPLES


class FakeEncoder:
    """Marks each sample with the ones at the very end of the real encoder's reach, so that a shorter window shows.

    Windows of the stream must be short; `failures` makes the first calls fail, but for those that are `spared`.
    """

    def __init__(self, *, failures: int = 0, spared: int = 0) -> None:
        self.windows: list[int] = []
        self._failures = failures
        self._spared = spared

    def mark(self, window: Waveform) -> Waveform:
        """Return the marked window."""
        assert window.dtype == np.float32
        assert 0 < len(window) <= MAX_WINDOW_SAMPLES
        if self._failures and len(self.windows) >= self._spared:
            self._failures -= 1
            raise ServiceError(Reason.ENGINE_FAULT, "the fake was told to fail")
        self.windows.append(len(window))
        return reaching_mark(window)

    def __repr__(self) -> str:
        return f"<FakeEncoder {len(self.windows)} windows>"


class PlainEncoder(FakeEncoder):
    """Leaves windows as they are, for tests of what goes on around the mark."""

    def mark(self, window: Waveform) -> Waveform:
        """Return the window."""
        super().mark(window)
        return window


def reaching_mark(clip: Waveform) -> Waveform:
    """Return what FakeEncoder makes of a whole clip of any length."""
    marked = clip.copy()
    marked[HISTORY_SAMPLES:] += np.float32(0.25) * clip[:-HISTORY_SAMPLES]
    marked[:-LOOK_AHEAD_SAMPLES] += np.float32(0.5) * clip[LOOK_AHEAD_SAMPLES:]
    return marked


class ScriptedDetector:
    """Gives the scores it was told to, in order, and keeps what it was shown; NaN in digital silence, like Perth."""

    def __init__(self, *scores: float) -> None:
        self.seen: list[Waveform] = []
        self._scores = list(scores)

    def score(self, samples: Waveform) -> float:
        """Return the next score."""
        assert samples.dtype == np.float32
        assert len(samples) >= 4 * FRAME_SAMPLES
        self.seen.append(samples)
        score = self._scores.pop(0)
        return score if samples.any() else float("nan")

    def __repr__(self) -> str:
        return f"<ScriptedDetector {len(self.seen)} scored | {len(self._scores)} to come>"
