"""How many words of a recording a recogniser mishears."""

import re
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pocketsphinx
import soxr

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


def word_error_rate(path: Path, transcript: str) -> dict[str, Any]:
    """Return the word error rate of a WAV file against what should be heard."""
    expected = transcript.split()
    actual = " ".join(SAME.get(word, word) for word in heard(path)).split()
    errors = distance(expected, actual)
    return {"words": len(expected), "errors": errors, "word_error_rate": round(errors / len(expected), 3)}


def heard(path: Path) -> list[str]:
    """Return the words that PocketSphinx recognises, by utterances cut at pauses."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        rate = file.getframerate()
    at_16k = soxr.resample(samples, rate, 16_000)
    recogniser = pocketsphinx.Decoder(samprate=16_000, loglevel="FATAL")
    words: list[str] = []
    for piece in _pieces(at_16k):
        recogniser.start_utt()
        recogniser.process_raw(bytes(9_600) + piece.tobytes(), full_utt=True)
        recogniser.end_utt()
        hypothesis = recogniser.hyp()
        words += re.sub(r"\(\d+\)", "", hypothesis.hypstr).split() if hypothesis else []
    return words


def _pieces(samples: Any) -> list[Any]:
    """Cut at pauses."""
    whole = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    pieces, start, quiet = [], 0, 0
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
