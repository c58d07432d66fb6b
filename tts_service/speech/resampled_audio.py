"""A waveform at another rate, made as it arrives."""

import numpy as np
import soxr

from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, Waveform

_WITHHELD_SECONDS = ((8_000, 0.080), (8_200, 0.160), (16_400, 0.080), (48_000, 0.040))
"""The highest rate of each range, and the most audio that soxr 1.1.0 (quality HQ) keeps for what follows.

Seen at 790 rates from 8 to 48 kHz: 79.1 ms up to 16,294 Hz, but 158.1 ms from 8,001 to 8,150 Hz, and 38.6 ms above.
"""


def resampling_withholds_seconds(sample_rate_hertz: int) -> float:
    """Return the most audio that waits in a `ResampledAudio` for what follows it."""
    if sample_rate_hertz == MODEL_SAMPLE_RATE_HERTZ:
        return 0.0
    return next(seconds for highest_hertz, seconds in _WITHHELD_SECONDS if sample_rate_hertz <= highest_hertz)


class ResampledAudio:
    """One stream from the models' rate to `sample_rate_hertz`; any chunking gives the same samples.

    Invariant: after `finish`, what came out is as long as what went in, to the sample (halves rounded up).
    """

    def __init__(self, sample_rate_hertz: int) -> None:
        self._rate_hertz = sample_rate_hertz
        self._stream = None
        if sample_rate_hertz != MODEL_SAMPLE_RATE_HERTZ:
            self._stream = soxr.ResampleStream(MODEL_SAMPLE_RATE_HERTZ, sample_rate_hertz, 1, dtype="float32")
        self._samples_in = 0
        self._samples_out = 0

    def __repr__(self) -> str:
        return f"<ResampledAudio {self._rate_hertz} Hz | {self._samples_in} samples in, {self._samples_out} out>"

    def write(self, samples: Waveform) -> Waveform:
        """Take samples at the models' rate and return those at the new rate that are now certain."""
        self._samples_in += len(samples)
        resampled = samples if self._stream is None else self._stream.resample_chunk(samples)
        self._samples_out += len(resampled)
        return resampled

    def finish(self) -> Waveform:
        """Return what was withheld; nothing may be written afterwards."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        rest = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        total = (self._samples_in * self._rate_hertz * 2 + MODEL_SAMPLE_RATE_HERTZ) // (MODEL_SAMPLE_RATE_HERTZ * 2)
        return _fitted(rest, total - self._samples_out)


def _fitted(samples: Waveform, length: int) -> Waveform:
    """Return exactly `length` samples: soxr sometimes rounds half a sample down."""
    return np.pad(samples, (0, max(0, length - len(samples))))[:length]
