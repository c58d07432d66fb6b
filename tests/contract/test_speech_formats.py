"""Every format over the wire: decodable, gap-free, exact at a flush, watermarked, and no bits lost."""

import itertools
from typing import Any

import numpy as np
import pytest

from greenroom.tts.v1 import tts_pb2 as pb
from tests.fakes.wire import audio, config, converse, end, flush, kinds, rest_of, text, until
from tts_service.speech.decoded_audio import decode_audio
from tts_service.types import AudioFormat, Encoding

WORDS = "Every actor waits here until a voice calls, and then goes on."
PCM = (pb.AUDIO_ENCODING_PCM_S16LE, pb.AUDIO_ENCODING_PCM_F32LE, pb.AUDIO_ENCODING_MULAW, pb.AUDIO_ENCODING_ALAW)
SAMPLE_BYTES = dict(zip(PCM, (2, 4, 1, 1), strict=True))
SESSION_FORMATS = [
    *((encoding, rate) for encoding in PCM for rate in (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)),
    (pb.AUDIO_ENCODING_OGG_OPUS, 24_000),
    (pb.AUDIO_ENCODING_OGG_OPUS, 48_000),
    (pb.AUDIO_ENCODING_WAV, 24_000),
    (pb.AUDIO_ENCODING_WAV, 16_000),
]
# The watermark's own noise in a pause is far below; mu-law's first step is what 8 bits can hold.
QUIET = {pb.AUDIO_ENCODING_PCM_S16LE: 2e-4, pb.AUDIO_ENCODING_PCM_F32LE: 2e-4, pb.AUDIO_ENCODING_MULAW: 5e-4}
VALUES = {
    pb.AUDIO_ENCODING_PCM_S16LE: Encoding.PCM_S16LE,
    pb.AUDIO_ENCODING_PCM_F32LE: Encoding.PCM_F32LE,
    pb.AUDIO_ENCODING_MULAW: Encoding.MULAW,
    pb.AUDIO_ENCODING_ALAW: Encoding.ALAW,
    pb.AUDIO_ENCODING_OGG_OPUS: Encoding.OGG_OPUS,
    pb.AUDIO_ENCODING_WAV: Encoding.WAV,
    pb.AUDIO_ENCODING_FLAC: Encoding.FLAC,
}


def in_format(encoding: int, rate: int) -> pb.AudioFormat:
    """Return a format for the wire."""
    return pb.AudioFormat(encoding=pb.AudioEncoding.ValueType(encoding), sample_rate_hertz=rate)


async def spoken(speech: Any, encoding: int, rate: int) -> tuple[bytes, int]:
    """Speak the words in a format; return the bytes and the samples that the service counted."""
    first = config(audio_format=in_format(encoding, rate), sampling=pb.Sampling(seed=3))
    responses = await converse(speech, [first, text("u", WORDS), end("u")])
    done = next(r.utterance_done for r in responses if r.WhichOneof("response") == "utterance_done")
    return audio(responses), done.samples


@pytest.mark.parametrize(("encoding", "rate"), SESSION_FORMATS)
async def test_session_in_any_format_sounds_like_the_plain_one(speech: Any, encoding: int, rate: int) -> None:
    """What a format decodes to is the speech that the default format carries; only pauses may be longer."""
    plain, _ = await spoken(speech, pb.AUDIO_ENCODING_PCM_F32LE, 24_000)
    reference = np.frombuffer(plain, "<f4")
    data, samples = await spoken(speech, encoding, rate)
    decoded = decode_audio(data, AudioFormat(encoding=VALUES[encoding], sample_rate_hertz=rate), max_seconds=60)

    assert -1 / rate <= samples / rate - len(reference) / 24_000 <= 0.4
    assert abs(len(decoded) - samples * 24_000 / rate) <= 24_000 // rate + 1
    shared = min(len(decoded), len(reference))
    assert np.corrcoef(decoded[:shared], reference[:shared])[0, 1] > 0.9


@pytest.mark.parametrize("encoding", PCM)
async def test_pcm_has_exactly_the_counted_samples(speech: Any, encoding: int) -> None:
    """The bytes of a PCM stream are its samples and nothing else."""
    data, samples = await spoken(speech, encoding, 16_000)

    assert samples * SAMPLE_BYTES[encoding] == len(data)


@pytest.mark.parametrize(
    ("encoding", "rate"), [(1, 24_000), (1, 16_000), (1, 8_000), (3, 8_000), (2, 48_000), (1, 11_025)]
)
async def test_flush_sends_every_sample_of_speech_before_its_answer(speech: Any, encoding: int, rate: int) -> None:
    """What comes after Flushed belongs to the pause: the whole utterance holds no louder sample later."""
    first = config(audio_format=in_format(encoding, rate), sampling=pb.Sampling(seed=3))
    call = speech.StreamingSynthesize()
    await call.write(first)
    await call.write(text("u", "Every actor waits here."))
    await call.write(flush("u", "f"))
    answers = []
    while "flushed" not in kinds(answers):
        answers.append(await call.read())
    before = audio(answers)
    await call.write(end("u"))
    await call.done_writing()
    rest = audio(await rest_of(call))
    form = AudioFormat(encoding=VALUES[encoding], sample_rate_hertz=rate)
    after = decode_audio(before + rest, form, max_seconds=60)[
        round(len(before) / SAMPLE_BYTES[encoding] / rate * 24_000) :
    ]

    assert answers[-1].flushed.samples_sent * SAMPLE_BYTES[encoding] == len(before)
    assert np.abs(after).max(initial=0.0) < QUIET[encoding]
    assert len(after) < 24_000


async def test_whole_text_as_flac_is_a_file_without_loss(speech: Any) -> None:
    """FLAC of a whole text decodes to the very samples of the 16-bit stream."""
    asked = pb.SessionConfig(sampling=pb.Sampling(seed=3), audio_format=in_format(pb.AUDIO_ENCODING_FLAC, 24_000))
    responses = [r async for r in speech.Synthesize(pb.SynthesizeRequest(text=WORDS, config=asked))]
    flac = b"".join(r.audio.data for r in responses if r.WhichOneof("response") == "audio")
    plain, _ = await spoken(speech, pb.AUDIO_ENCODING_PCM_S16LE, 24_000)
    decoded = decode_audio(flac, AudioFormat(encoding=Encoding.FLAC), max_seconds=60)

    assert np.array_equal(np.frombuffer(plain, "<i2"), np.round(decoded * 32_768))


async def test_whole_text_gives_the_samples_of_a_session(speech: Any) -> None:
    """The same text and seed sound alike in both RPCs."""
    asked = pb.SessionConfig(sampling=pb.Sampling(seed=3))
    responses = [r async for r in speech.Synthesize(pb.SynthesizeRequest(text=WORDS, config=asked))]
    whole = b"".join(r.audio.data for r in responses if r.WhichOneof("response") == "audio")
    plain, _ = await spoken(speech, pb.AUDIO_ENCODING_PCM_S16LE, 24_000)

    assert whole == plain
    runs = [kind for kind, _ in itertools.groupby(r.WhichOneof("response") for r in responses)]
    assert ["started", "audio", "segment_done", "audio", "done"] == runs


@pytest.mark.parametrize(("encoding", "rate"), [(1, 24_000), (1, 16_000), (5, 24_000), (6, 24_000), (3, 8_000)])
async def test_speech_in_any_format_carries_the_watermark(speech: Any, encoding: int, rate: int) -> None:
    """DetectWatermark finds the mark after coding."""
    data, _ = await spoken(speech, encoding, rate)
    requests = [pb.DetectWatermarkRequest(audio_format=in_format(encoding, rate))]
    requests += [pb.DetectWatermarkRequest(content=data[i : i + 10_000]) for i in range(0, len(data), 10_000)]

    found = await speech.DetectWatermark(iter(requests))

    assert (pb.WATERMARK_VERDICT_PRESENT, True) == (found.verdict, found.score >= 0.9)


async def test_first_chunk_is_playable_while_text_still_comes(speech: Any) -> None:
    """Audio of the first sentence arrives before the second is written."""
    call = speech.StreamingSynthesize()
    await call.write(config())
    await call.write(text("u", "The first sentence is here. And the second"))
    chunk = (await until(call, "audio")).audio
    call.cancel()

    assert (0, 0) == (chunk.sequence, chunk.sample_offset)
    assert 2 * chunk.sample_count == len(chunk.data) > 0
