"""How many words of speech a recogniser mishears."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pocketsphinx
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.int16]

RATE_HERTZ = 16_000
"""The recogniser's rate."""

LEAD_IN = bytes(9_600)
"""0.3 s of silence: a recogniser takes its measure of the background before speech begins."""

FRAME_SAMPLES = 160
"""10 ms at the recogniser's rate."""

QUIET_FRAMES = 15
QUIET_LEVEL = 200
LOUD_LEVEL = 1_000
"""What a pause is, and what is worth recognising, in steps of 16 bits."""

TRANSCRIPT = Path(__file__).with_name("demo_transcript.txt")
"""What should be heard of the demo's text, with numbers and abbreviations written out."""

SAME = {"dr": "doctor", "st": "saint", "mrs": "missus", "pm": "p m", "eg": "e g"}
"""Spellings of the recogniser's dictionary for what the transcript writes out."""


def word_error_rate(samples: Samples, rate_hertz: int, transcript: str) -> dict[str, Any]:
    """Return the word error rate of 16-bit samples against what should be heard."""
    expected = transcript.split()
    actual = " ".join(SAME.get(word, word) for word in heard(samples, rate_hertz)).split()
    errors = distance(expected, actual)
    return {"words": len(expected), "errors": errors, "word_error_rate": round(errors / len(expected), 3)}


def heard(samples: Samples, rate_hertz: int) -> list[str]:
    """Return the words that PocketSphinx recognises, by utterances cut at pauses, without marks of variants."""
    at_16k = samples if rate_hertz == RATE_HERTZ else soxr.resample(samples, rate_hertz, RATE_HERTZ)
    recogniser = pocketsphinx.Decoder(samprate=RATE_HERTZ, loglevel="FATAL")
    words: list[str] = []
    for piece in _pieces(at_16k):
        recogniser.start_utt()
        recogniser.process_raw(LEAD_IN + piece.tobytes(), full_utt=True)
        recogniser.end_utt()
        hypothesis = recogniser.hyp()
        words += re.sub(r"\(\d+\)", "", hypothesis.hypstr).split() if hypothesis else []
    return words


def _pieces(samples: Samples) -> list[Samples]:
    """Cut at pauses."""
    whole = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    pieces: list[Samples] = []
    start = quiet = 0
    for index, level in enumerate(np.abs(whole).max(axis=1)):
        quiet = 0 if level > QUIET_LEVEL else quiet + 1
        if quiet == QUIET_FRAMES:
            pieces.append(samples[start * FRAME_SAMPLES : index * FRAME_SAMPLES])
            start = index
    pieces.append(samples[start * FRAME_SAMPLES :])
    return [piece for piece in pieces if np.abs(piece).max(initial=0) > LOUD_LEVEL]


def distance(expected: list[str], actual: list[str]) -> int:
    """Return the least number of words changed, left out or put in."""
    row = np.arange(len(actual) + 1)
    for i, word in enumerate(expected, 1):
        above = row.copy()
        row[0] = i
        for j, other in enumerate(actual, 1):
            row[j] = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (word != other))
    return int(row[-1])
