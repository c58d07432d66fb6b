"""Watermarks on the device: any pieces give the same bits, the whole clip's mark, and Perth's own."""

import functools
from itertools import pairwise

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.real_watermarker import detector, encoder
from tests.fakes.spoken import spoken
from tts_service.errors import ServiceError
from tts_service.speech import watermark
from tts_service.speech.captured.graphs import EagerGraphs
from tts_service.speech.captured.marks_stage import CapturedEncoder
from tts_service.speech.captured.marks_stream import CapturedMarks, next_of_all
from tts_service.types import Waveform

TEXT = "Nine little lights shone on the far side of the bay."
ATTACK_SAMPLES = 24
"""Perth's own resampling rings for a millisecond where a clip begins."""


@functools.cache
def stage() -> CapturedEncoder:
    """Return a stage that the tests of this file share."""
    captured = CapturedEncoder(EagerGraphs(torch.device("cpu")))
    captured.capture(encoder())
    return captured


@functools.cache
def clip() -> Waveform:
    """Return a sentence and the pause after it, a little over two blocks more than a batch."""
    speech = spoken(TEXT)[: 5 * 3840 + 700]
    return np.concatenate([speech, watermark.pause(watermark.pause_samples(len(speech)), start=len(speech))])


def marked(samples: Waveform, cuts: list[int]) -> Waveform:
    """Return the samples marked as they come in pieces, taking blocks as soon as there are any."""
    stream, blocks = CapturedMarks(stage()), []
    for start, end in pairwise([0, *sorted(min(cut, len(samples)) for cut in cuts), len(samples)]):
        stream.write(torch.tensor(samples[start:end]))
        blocks.append(stream.next_blocks(encoder()))
    stream.finish()
    blocks.append(stream.next_blocks(encoder()))
    return np.concatenate([block for block in blocks if block is not None])


def whole_mark(samples: Waveform) -> Waveform:
    """Return the mark of a whole clip by Perth's own way: the difference at 32 kHz, resampled.

    Perth's output also differs from its input by what resampling changes, which is none of the mark.
    """
    padded = np.pad(samples, (0, -len(samples) % 240))
    at_32_khz = soxr.resample(padded, 24_000, 32_000, quality="HQ")
    network = encoder()
    with torch.inference_mode():
        difference = network._marked(network._spectrum(padded)).numpy() - at_32_khz
    mark: Waveform = soxr.resample(difference, 32_000, 24_000, quality="HQ")
    return mark[: len(samples)]


def decibels(expected: Waveform, actual: Waveform) -> float:
    """Return how far below a signal its error is."""
    return float(20 * np.log10(np.linalg.norm(expected) / np.linalg.norm(expected - actual)))


@given(cuts=st.lists(st.integers(0, 27_000), max_size=5))
@settings(deadline=None, max_examples=6)
def test_marks_any_pieces_give_the_same_bits(cuts: list[int]) -> None:
    """How audio arrives, and how many blocks are marked at once, changes no bit."""
    assert marked(clip(), []).tobytes() == marked(clip(), cuts).tobytes()


def test_marks_of_a_stream_are_perths_of_the_whole_clip() -> None:
    """Beyond its first millisecond, a streamed clip has the mark that Perth gives the whole, to 80 dB and more."""
    mark = marked(clip(), [3_000, 9_000]) - clip()

    assert decibels(whole_mark(clip())[ATTACK_SAMPLES:], mark[ATTACK_SAMPLES:]) > 80


def test_marks_are_detected() -> None:
    """Perth's detector is sure of a marked sentence, and of a clean one."""
    sentence = spoken(TEXT)[:48_000]

    assert detector().score(sentence) < 0.1
    assert detector().score(marked(sentence, [])) > 0.99


@pytest.mark.parametrize("count", [1, 239, 240, 700, 959, 961, 4_801, 5_521, 9_361])
def test_marks_of_a_short_clip_are_close_to_perths(count: int) -> None:
    """However short a clip, cut anywhere in speech, as many samples come out as went in, and about Perth's mark.

    Perth reflects audio at its last sample at 32 kHz, 0.01 ms from ours: nothing at a pause, a little in a vowel.
    """
    short = spoken(TEXT)[6_000 : 6_000 + count]
    expected = whole_mark(np.pad(short, (0, max(0, 960 - count))))[:count]

    error = np.abs(marked(short, []) - short - expected)

    assert float(error.max()) < 5e-3
    assert float(error[ATTACK_SAMPLES:-ATTACK_SAMPLES].max(initial=0.0)) < 1e-3


def test_marks_blocks_come_as_soon_as_their_look_ahead_is_there() -> None:
    """The first block needs 5,520 samples, and a stream that has no block to give says so."""
    stream = CapturedMarks(stage())
    stream.write(torch.tensor(clip()[:5_519]))

    assert not stream.ready
    assert stream.next_blocks(encoder()) is None

    stream.write(torch.tensor(clip()[5_519:5_520]))
    block = stream.next_blocks(encoder())

    assert block is not None
    assert 960 == len(block)
    assert "<CapturedMarks 960 of 5520 samples marked | open>" == repr(stream)


def test_marks_after_the_pause_speech_is_out() -> None:
    """The pause that the pipeline writes pushes all speech out, without an end."""
    speech, stream = spoken(TEXT)[:7_000], CapturedMarks(stage())
    stream.write(torch.tensor(speech))
    stream.pause(watermark.pause_samples(len(speech)))
    block = stream.next_blocks(encoder())

    assert block is not None
    assert len(block) >= len(speech)


def test_marks_two_streams_in_turns_equal_each_alone() -> None:
    """Nothing of an utterance stays in the stage."""
    clips = [spoken(TEXT)[:12_000], spoken(TEXT)[20_000:32_000]]
    alone = [marked(each, [6_000]) for each in clips]
    streams = [CapturedMarks(stage()) for _ in clips]

    blocks: list[list[Waveform]] = [[], []]
    for span in (slice(0, 6_000), slice(6_000, None)):
        for stream, each, taken in zip(streams, clips, blocks, strict=True):
            stream.write(torch.tensor(each[span]))
            taken.append(_taken(stream))
    for stream, taken in zip(streams, blocks, strict=True):
        stream.finish()
        taken.append(_taken(stream))

    assert [each.tobytes() for each in alone] == [np.concatenate(taken).tobytes() for taken in blocks]


def _taken(stream: CapturedMarks) -> Waveform:
    block = stream.next_blocks(encoder())
    assert block is not None
    return block


def test_marks_without_a_capture_are_the_same_bits() -> None:
    """An encoder that was not captured marks as well, only slower."""
    stream = CapturedMarks(CapturedEncoder(EagerGraphs(torch.device("cpu"))))
    stream.write(torch.tensor(clip()[:9_000]))
    stream.finish()

    assert marked(clip()[:9_000], []).tobytes() == _taken(stream).tobytes()


def test_marks_of_what_is_no_number_is_our_fault() -> None:
    """A voice that makes samples that are not numbers is found before they are sent, and nothing is lost before."""
    stream = CapturedMarks(stage())
    stream.write(torch.full((6_000,), torch.nan))

    with pytest.raises(ServiceError, match="not numbers"):
        stream.next_blocks(encoder())


def test_marks_of_several_streams_at_once_equal_each_alone() -> None:
    """Streams of different lengths share rows: in graphs of eight rows every bit is its own, in wider ones to rounding.

    On a CPU no bit differed in wider ones either.
    """
    wide = CapturedEncoder(EagerGraphs(torch.device("cpu")), wide=16)
    wide.capture(encoder())
    clips = [spoken(TEXT)[:20_000], spoken(TEXT)[20_000:31_000], spoken(TEXT)[4_000:4_500], clip()]
    alone = [marked(each, [6_000]) for each in clips]

    for captured, bound in ((stage(), 0.0), (wide, 2e-6)):
        blocks = _all_marked(captured, clips)

        far = [float(np.abs(one - np.concatenate(other)).max()) for one, other in zip(alone, blocks, strict=True)]
        assert max(far) <= bound


def test_marks_of_who_is_alone_have_the_same_bits_in_any_company() -> None:
    """A stream that must be reproducible shares no rows, so that wider graphs are not its own."""
    wide = CapturedEncoder(EagerGraphs(torch.device("cpu")), wide=16)
    wide.capture(encoder())
    clips = [spoken(TEXT)[:20_000], spoken(TEXT)[20_000:40_000]]

    blocks = _all_marked(wide, clips, alone=0)

    assert marked(clips[0], [6_000]).tobytes() == np.concatenate(blocks[0]).tobytes()


def test_marks_of_what_is_no_number_leave_other_streams_theirs() -> None:
    """One voice that makes no numbers is found, and those that were marked with it have their samples."""
    streams = [CapturedMarks(stage()) for _ in range(3)]
    for stream, wave in zip(streams, (torch.full((6_000,), torch.nan), torch.tensor(clip()[:6_000])), strict=False):
        stream.write(wave)

    error, block, nothing = next_of_all(encoder(), streams)

    assert isinstance(error, ServiceError)
    assert isinstance(block, np.ndarray)
    assert marked(clip()[:6_000], [])[: len(block)].tobytes() == block.tobytes()
    assert nothing is None


def _all_marked(captured: CapturedEncoder, clips: list[Waveform], alone: int | None = None) -> list[list[Waveform]]:
    """Return the blocks of clips that are marked together, each in two pieces."""
    streams = [CapturedMarks(captured, alone=alone == place) for place in range(len(clips))]
    blocks: list[list[Waveform]] = [[] for _ in clips]
    for span in (slice(0, 6_000), slice(6_000, None)):
        for stream, each in zip(streams, clips, strict=True):
            stream.write(torch.tensor(each[span]))
            if span.stop is None:
                stream.finish()
        for taken, made in zip(blocks, next_of_all(encoder(), streams), strict=True):
            assert not isinstance(made, ServiceError)
            taken.extend([] if made is None else [made])
    return blocks
