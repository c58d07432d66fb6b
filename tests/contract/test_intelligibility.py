"""Whether a machine that listens understands the speech."""

from typing import Any

import numpy as np

from benchmarks.intelligibility import RATE_HERTZ, distance, heard
from greenroom.tts.v1 import tts_pb2 as pb
from tests.fakes.wire import audio, config, converse, end, text

SENTENCES = [
    "the weather is nice today and we are going to the park",
    "please open the window because it is very warm in here",
    "my brother wants to buy a new house near the river",
]


async def test_plain_sentences_are_understood_by_a_recogniser(speech: Any) -> None:
    """Of three plain sentences at most one word in five is misheard."""
    first = config(audio_format=pb.AudioFormat(sample_rate_hertz=RATE_HERTZ), sampling=pb.Sampling(seed=1))
    errors = 0
    for sentence in SENTENCES:
        responses = await converse(speech, [first, text("u", sentence.capitalize() + "."), end("u")])
        samples = np.frombuffer(audio(responses), np.int16)
        errors += distance(sentence.split(), heard(samples, RATE_HERTZ))

    assert errors <= 0.2 * sum(len(sentence.split()) for sentence in SENTENCES)
