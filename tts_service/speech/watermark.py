"""The watermark of an utterance, made block by block as its audio comes, and found again in any audio.

Rules
* One clip is one utterance. Its blocks end at fixed sample positions, and each is cut out of a marked window that
  reaches HISTORY_SAMPLES back and LOOK_AHEAD_SAMPLES forward, or to the utterance's ends. So the bits depend on the
  audio alone, not on the pieces it came in, and are what marking the whole clip gives, to 1e-5 on speech.
* Everything that comes in goes out, to the sample. `pause_samples` says how much pause pushes speech out without
  waiting for more.
* Pauses are very soft noise, not zeros: in digital silence the watermark has nothing but rounding errors to work on
  (a second of zeros between two sentences made the error 3.6e-4).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

import numpy as np
import soxr

from tts_service.errors import CallerError, Reason, ServiceError
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, WATERMARK_ENCODER, Waveform

HISTORY_SAMPLES: Final = 4_800
LOOK_AHEAD_SAMPLES: Final = 4_560
"""0.2 s and 0.19 s: the reach of the encoder (15 frames of convolution, half an FFT on either side, 10 ms frames).

Largest error against the whole clip in 970 paragraphs of three sentences, soft and loud up to full scale: 5.5e-6, from
rounding where a loud onset follows a pause, which more history or look-ahead does not mend. With 0.18 s of look-ahead,
a loud onset just behind the window made it 9.5e-6; 0.15 s of look-ahead or history made it 4e-5 and 9e-5.
"""

FIRST_BLOCK_SAMPLES: Final = 960
BLOCK_SAMPLES: Final = 3_840
"""The grid: blocks end at 0.04 s and every 0.16 s from there on, always at whole frames of the encoder.

A block costs its window; on one core of an AMD EPYC (CPU time, median of 150):

    block, s                     0.04  0.08  0.12  0.16  0.24  0.32  0.64
    window, s                    0.43  0.47  0.51  0.55  0.63  0.71  1.03
    milliseconds a block          3.4   3.8   3.7   3.7   4.0   4.5   5.7
    milliseconds a second          84    48    31    23    17    14     9

A longer block is cheaper by the second, but the pause after speech grows with it (at most block + look-ahead): 0.16 s
is the longest step of whole 20 ms that keeps pauses below 0.35 s. The first block has no history and is short, so that
0.23 s of audio and 2.6 ms are enough for it.
"""

PAUSE_SAMPLES: Final = 4_800
"""The shortest pause after a segment, 0.2 s: a breath, and more than the look-ahead."""

PAUSE_PEAK: Final = 3**0.5 * 10 ** (-100 / 20)
"""Uniform noise of this peak has -100 dBFS, below the last bit of 16."""

_PAUSE_KEY: Final = 0x6772_6565_6E72_6F6F_6D
"""Any fixed number will do."""

MIN_DETECTION_SECONDS: Final = 0.5
"""The detector's own limit: below it, one word decides and clean speech may pass for marked."""

SILENCE_PEAK: Final = 1e-4
"""-80 dBFS: three steps of 16-bit audio, below which nobody hears anything and pauses are all there is."""

DETECTION_PEAK: Final = 0.9
"""Audio is brought to this peak before it is scored, because the detector takes softness for a mark.

Clean "Hello there." scores 0.15 at this peak, 0.27 at its own of -12 dBFS, 0.64 at -46 dBFS; marked speech scores
0.98 or more at each, and after mu-law at 8 kHz and Opus at 24 kbit/s.
"""

PRESENT_SCORE: Final = 0.5
"""Upstream rounds the score; so do we."""

DETECTION_PIECE_SECONDS: Final = 60.0
"""Audio is scored in pieces of at most this length: about 110 MiB and 0.6 s each."""


class Encoder(Protocol):
    """What marks: `watermark.encoder` under a lease."""

    def mark(self, window: Waveform) -> Waveform:
        """Return the marked window, of the same length."""
        ...


class Detector(Protocol):
    """What scores: `watermark.detector` under a lease."""

    def score(self, samples: Waveform) -> float:
        """Return how surely the samples are marked, 0 to 1; NaN if there is nothing to look at."""
        ...


class Verdict(Enum):
    """What was found."""

    PRESENT = "present"
    ABSENT = "absent"
    TOO_SHORT = "too_short"
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """A verdict on `seconds` of audio. `score`, 0 to 1, is None where there is nothing to score."""

    verdict: Verdict
    score: float | None
    seconds: float


class WatermarkStream:
    """Marks one utterance. Positions are samples from its start, at MODEL_SAMPLE_RATE_HERTZ; none is ever skipped.

    `write` audio as it comes and call `next_blocks` until it gives None; after `finish`, it gives the rest.
    """

    modules = frozenset({WATERMARK_ENCODER})

    def __init__(self) -> None:
        self._held: list[Waveform] = []
        self._held_from = 0
        self._written = 0
        self._emitted = 0
        self._finished = False

    def write(self, samples: Waveform) -> None:
        """Take audio, of any length; it is copied. ENGINE_FAULT if it holds what is not a number."""
        assert not self._finished
        assert samples.ndim == 1
        assert samples.dtype == np.float32
        if not np.isfinite(samples).all():
            # One of them would leave a whole window without a mark.
            raise ServiceError(Reason.ENGINE_FAULT, "the voice made samples that are not numbers")
        self._held.append(samples.copy())
        self._written += len(samples)

    def pause(self, count: int) -> None:
        """Write the pause that belongs here, of so many samples."""
        self.write(pause(count, start=self._written))

    def finish(self) -> None:
        """Say that no more audio comes."""
        self._finished = True

    @property
    def ready(self) -> bool:
        """Whether `next_blocks` has any to give."""
        return self._is_ready(self._emitted)

    def next_blocks(self, encoder: Encoder) -> Waveform | None:
        """Return the next marked samples; None if they need more audio or there are none left.

        Marks one window of at most 0.55 s, and for an utterance's first block, which is short, the second one too if it
        is there: a listener who has 0.04 s to hear runs dry before a busy machine comes back, 0.2 s last until then. If
        the encoder fails, nothing is lost: the same samples come next.
        """
        blocks, start, most = list[Waveform](), self._emitted, 1 if self._emitted else 2
        while len(blocks) < most and self._is_ready(start):
            grid_end = block_end(start)
            window_start, end = max(0, start - HISTORY_SAMPLES), min(grid_end, self._written)
            window = self._window(window_start, min(grid_end + LOOK_AHEAD_SAMPLES, self._written))
            marked = encoder.mark(window)
            assert len(marked) == len(window)
            blocks.append(marked[start - window_start : end - window_start])
            start = end
        if not blocks:
            return None
        self._emitted = start
        self._forget()
        return np.concatenate(blocks)

    def _is_ready(self, start: int) -> bool:
        if self._finished:
            return start < self._written
        return block_end(start) + LOOK_AHEAD_SAMPLES <= self._written

    def _window(self, start: int, end: int) -> Waveform:
        if len(self._held) > 1:
            self._held = [np.concatenate(self._held)]
        return self._held[0][start - self._held_from : end - self._held_from]

    def _forget(self) -> None:
        """Let go of what no window needs any more, once it is most of what is held, so that copying stays cheap."""
        surplus = max(0, self._emitted - HISTORY_SAMPLES) - self._held_from
        if 2 * surplus > len(self._held[0]):
            self._held = [self._held[0][surplus:].copy()]
            self._held_from += surplus

    def __repr__(self) -> str:
        state = "finished" if self._finished else "open"
        return f"<WatermarkStream {self._emitted} of {self._written} samples marked | {state}>"


def block_end(position: int) -> int:
    """Return where the block that holds the sample at this position ends."""
    blocks = max(0, position - FIRST_BLOCK_SAMPLES + BLOCK_SAMPLES) // BLOCK_SAMPLES
    return FIRST_BLOCK_SAMPLES + blocks * BLOCK_SAMPLES


def pause_samples(speech_end: int) -> int:
    """Return how much pause to write after speech that ends here, so that all of it comes out without `finish`.

    0.2 to 0.35 s: to the end of the block that holds the last sample of speech, and its look-ahead.
    """
    return max(PAUSE_SAMPLES, block_end(max(0, speech_end - 1)) + LOOK_AHEAD_SAMPLES - speech_end)


def pause(count: int, *, start: int) -> Waveform:
    """Return the pause from this position on: noise at -100 dBFS, always the same at the same position."""
    # Philox makes four 64-bit words for each value of its counter, whatever came before.
    counter, skipped = divmod(start, 4)
    words = np.random.Philox(key=_PAUSE_KEY, counter=counter).random_raw(skipped + count)[skipped:]
    signed = words.astype(np.int64) / 2.0**63
    return (PAUSE_PEAK * signed).astype(np.float32)


def detect(detector: Detector, samples: Waveform, *, sample_rate_hertz: int = MODEL_SAMPLE_RATE_HERTZ) -> Detection:
    """Say whether audio, of any length, carries the watermark; BAD_AUDIO if it holds what is not a number.

    Long audio is scored in pieces; the score is their mean, weighted by length, without those that are silent.
    """
    assert samples.ndim == 1
    if not all(np.isfinite(piece).all() for piece in _pieces(samples, sample_rate_hertz)):
        raise CallerError(Reason.BAD_AUDIO, "the audio holds samples that are not finite numbers")
    seconds = len(samples) / sample_rate_hertz
    if seconds < MIN_DETECTION_SECONDS:
        return Detection(verdict=Verdict.TOO_SHORT, score=None, seconds=seconds)
    score = _score(detector, samples, sample_rate_hertz)
    if score is None:
        return Detection(verdict=Verdict.SILENT, score=None, seconds=seconds)
    verdict = Verdict.PRESENT if score >= PRESENT_SCORE else Verdict.ABSENT
    return Detection(verdict=verdict, score=score, seconds=seconds)


def _score(detector: Detector, samples: Waveform, sample_rate_hertz: int) -> float | None:
    """Return the mean score of the pieces that are not silent; None if all are."""
    peaks = [_peak(piece) for piece in _pieces(samples, sample_rate_hertz)]
    weighted, weight = 0.0, 0
    for piece, peak in zip(_pieces(samples, sample_rate_hertz), peaks, strict=True):
        if peak >= SILENCE_PEAK:
            leveled = (piece * (DETECTION_PEAK / max(peaks))).astype(np.float32)
            score = detector.score(_at_model_rate(leveled, sample_rate_hertz))
            if not math.isnan(score):
                weighted += score * len(piece)
                weight += len(piece)
    return weighted / weight if weight else None


def _at_model_rate(samples: Waveform, sample_rate_hertz: int) -> Waveform:
    if sample_rate_hertz == MODEL_SAMPLE_RATE_HERTZ:
        return samples
    resampled: Waveform = soxr.resample(samples, sample_rate_hertz, MODEL_SAMPLE_RATE_HERTZ, quality="HQ")
    return resampled


def _pieces(samples: Waveform, sample_rate_hertz: int) -> Iterator[Waveform]:
    """Cut audio into as few pieces of at most DETECTION_PIECE_SECONDS as will do, all of about the same length."""
    count = math.ceil(len(samples) / (DETECTION_PIECE_SECONDS * sample_rate_hertz))
    return iter(np.array_split(samples, max(1, count)))


def _peak(samples: Waveform) -> float:
    return float(np.abs(samples).max(initial=0.0))
