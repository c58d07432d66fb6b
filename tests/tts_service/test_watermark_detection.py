"""Detection's answers, with a detector that is told what to score."""

import numpy as np
import pytest

from tests.fakes.fake_watermarker import ScriptedDetector
from tts_service.errors import CallerError, Reason
from tts_service.speech.watermark import Detection, Verdict, detect, pause
from tts_service.types import Waveform

SECOND = 24_000


def tone(seconds: float, peak: float = 0.5) -> Waveform:
    """Return something that is not silent."""
    times = np.arange(round(seconds * SECOND)) / SECOND
    return (peak * np.sin(2 * np.pi * 220 * times)).astype(np.float32)


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(1.0, Verdict.PRESENT), (0.5, Verdict.PRESENT), (0.49, Verdict.ABSENT), (0.0, Verdict.ABSENT)],
)
def test_detect_score_gives_verdict(score: float, verdict: Verdict) -> None:
    """From a score of 0.5 on, the mark is present."""
    found = detect(ScriptedDetector(score), tone(2))

    assert Detection(verdict=verdict, score=score, seconds=2.0) == found


@pytest.mark.parametrize("count", [0, 1, 767, 11_999])
def test_detect_below_half_a_second_is_too_short(count: int) -> None:
    """Too little audio is said to be so, without asking the detector."""
    found = detect(ScriptedDetector(), tone(1)[:count])

    assert Detection(verdict=Verdict.TOO_SHORT, score=None, seconds=count / SECOND) == found


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(SECOND, np.float32),
        pause(SECOND, start=0),
        np.full(SECOND, 1 / 32_768, np.float32),
        np.zeros(100 * SECOND, np.float32),
    ],
    ids=["zeros", "pause", "last bit", "long"],
)
def test_detect_silence_is_silent(samples: Waveform) -> None:
    """Audio that nobody could hear is said to be silent, without asking the detector."""
    found = detect(ScriptedDetector(), samples)

    assert Detection(verdict=Verdict.SILENT, score=None, seconds=len(samples) / SECOND) == found


def test_detect_without_a_score_is_silent() -> None:
    """Should the detector find nothing to look at in audible audio, the answer is no NaN."""
    found = detect(ScriptedDetector(float("nan")), tone(1))

    assert Detection(verdict=Verdict.SILENT, score=None, seconds=1.0) == found


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("count", [10, 2 * SECOND, 70 * SECOND])
def test_detect_sample_that_is_no_number_is_bad_audio(value: float, count: int) -> None:
    """NaN and infinity are the caller's fault, in audio of any length and wherever they are."""
    samples = np.full(count, 0.25, np.float32)
    samples[-1] = value

    with pytest.raises(CallerError) as caught:
        detect(ScriptedDetector(1.0, 1.0), samples)

    assert Reason.BAD_AUDIO == caught.value.reason


def test_detect_long_audio_is_scored_in_bounded_pieces() -> None:
    """Three minutes and a bit make four pieces of equal length, and their mean is the score."""
    detector = ScriptedDetector(1.0, 1.0, 0.5, 0.0)

    found = detect(detector, tone(181))

    assert Detection(verdict=Verdict.PRESENT, score=0.625, seconds=181.0) == found
    assert [1_086_000] * 4 == [len(piece) for piece in detector.seen]


def test_detect_silent_piece_does_not_count() -> None:
    """A minute of silence before a minute of speech does not dilute the score."""
    detector = ScriptedDetector(0.9)

    found = detect(detector, np.concatenate([np.zeros(60 * SECOND, np.float32), tone(60)]))

    assert Detection(verdict=Verdict.PRESENT, score=0.9, seconds=120.0) == found


@pytest.mark.parametrize("peak", [0.001, 0.5, 1.0, 30.0])
def test_detect_any_level_is_brought_to_one(peak: float) -> None:
    """The detector sees the same level, however soft or loud the audio is."""
    detector = ScriptedDetector(1.0)

    detect(detector, tone(1, peak))

    assert float(np.abs(detector.seen[0]).max()) == pytest.approx(0.9)


def test_detect_other_rate_is_resampled() -> None:
    """Audio at another rate reaches the detector at the models' own, and its seconds are its own."""
    detector = ScriptedDetector(1.0)

    found = detect(detector, tone(1)[:16_000], sample_rate_hertz=8_000)

    assert Detection(verdict=Verdict.PRESENT, score=1.0, seconds=2.0) == found
    assert len(detector.seen[0]) == 2 * SECOND
