"""Whether a machine that listens understands the speech."""

import re
from functools import lru_cache
from typing import Any

import numpy as np
import pocketsphinx

from greenroom.tts.v1 import tts_pb2 as pb
from tests.fakes.wire import audio, config, converse, end, text

LEAD_IN = bytes(2 * 4_800)
"""0.3 s of silence: a recogniser takes its measure of the background before speech begins."""

SENTENCES = [
    "the weather is nice today and we are going to the park",
    "please open the window because it is very warm in here",
    "my brother wants to buy a new house near the river",
]


@lru_cache
def decoder() -> Any:
    """Return a recogniser with the English model that ships with it."""
    return pocketsphinx.Decoder(samprate=16_000, loglevel="FATAL")


def heard(samples: bytes) -> list[str]:
    """Return the words recognised in 16-bit samples at 16 kHz, without marks of pronunciation variants."""
    recogniser = decoder()
    recogniser.start_utt()
    recogniser.process_raw(samples, full_utt=True)
    recogniser.end_utt()
    hypothesis = recogniser.hyp()
    return re.sub(r"\(\d+\)", "", hypothesis.hypstr).split() if hypothesis else []


def word_errors(expected: list[str], actual: list[str]) -> int:
    """Return the least number of words changed, left out or put in."""
    row = np.arange(len(actual) + 1)
    for i, word in enumerate(expected, 1):
        above = row.copy()
        row[0] = i
        for j, other in enumerate(actual, 1):
            row[j] = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (word != other))
    return int(row[-1])


async def test_plain_sentences_are_understood_by_a_recogniser(speech: Any) -> None:
    """Of three plain sentences at most one word in five is misheard."""
    first = config(audio_format=pb.AudioFormat(sample_rate_hertz=16_000), sampling=pb.Sampling(seed=1))
    errors = 0
    for sentence in SENTENCES:
        responses = await converse(speech, [first, text("u", sentence.capitalize() + "."), end("u")])
        errors += word_errors(sentence.split(), heard(LEAD_IN + audio(responses)))

    assert errors <= 0.2 * sum(len(sentence.split()) for sentence in SENTENCES)
