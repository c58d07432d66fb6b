"""The captured vocoder beside the eager one: the same sound, whatever the bucket, the chunks and the neighbours."""

import functools
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.tiny_s3gen import TinyS3Gen, planted_s3gen
from tts_service.speech.captured.graphs import EagerGraphs
from tts_service.speech.captured.vocoder_layers import Decoder, _convolved
from tts_service.speech.captured.vocoder_operations import Extent, PlainVocoderOperations
from tts_service.speech.captured.vocoder_shapes import FRAME_BUCKETS, SHARED_SHAPES, VocoderShapes, WindowShape
from tts_service.speech.captured.vocoder_spectra import spectrum_tables
from tts_service.speech.captured.vocoder_stage import CapturedVocoder, Sounding
from tts_service.speech.random_source import CounterRandom, UpstreamRandom
from tts_service.speech.waveform import WaveformState, sound

BUCKETS = (16, 24, 40, 64)
TOLERANCE = 1e-4
"""Of the peak."""
COMPANY = 1e-3
"""Of the peak, between a window that is replayed with others and one by itself."""


@functools.cache
def planted() -> TinyS3Gen:
    """Return networks that the tests of this file share; nothing changes them."""
    return planted_s3gen(prompt_tokens=8)


@functools.cache
def captured() -> CapturedVocoder:
    """Return a stage that the tests of this file share, as utterances do."""
    stage = CapturedVocoder(EagerGraphs(torch.device("cpu")), buckets=BUCKETS)
    stage.capture(planted().vocoder)
    return stage


def mel_of(frames: int, seed: int = 1) -> torch.Tensor:
    """Return any mel."""
    return torch.randn(80, frames, generator=torch.Generator().manual_seed(seed))


def random_of(segment: int = 0) -> CounterRandom:
    """Return a segment's random numbers."""
    return CounterRandom(seed=2**63 + 5, segment=segment)


def assert_same_sound(mel: torch.Tensor, spans: list[tuple[int, int]], *, ahead_frames: int, segment: int = 0) -> None:
    """Assert that both stages make the same sound and the same states of every piece."""
    states = WaveformState(), WaveformState()
    for place, (start, end) in enumerate(spans):
        final = place == len(spans) - 1
        ahead = mel[:, end : end if final else end + ahead_frames]
        (theirs, expected), (ours, wave) = (
            way(planted().vocoder, state, mel[:, start:end], random_of(segment), ahead=ahead, final=final)
            for way, state in zip((sound, captured().sound), states, strict=True)
        )
        states = theirs, ours

        assert expected.shape == wave.shape
        assert torch.allclose(expected, wave, rtol=0, atol=TOLERANCE * float(expected.abs().max()) if len(wave) else 0)
        assert (theirs.start_frame, theirs.sounded_frames) == (ours.start_frame, ours.sounded_frames)
        assert torch.equal(theirs.mel, ours.mel)
        assert theirs.source.shape == ours.source.shape
        assert torch.allclose(theirs.source, ours.source, rtol=0, atol=TOLERANCE)
        assert torch.allclose(theirs.cycles, ours.cycles, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("frames", sorted({size + more for size in BUCKETS for more in (-1, 0, 1)}))
def test_captured_sound_at_a_buckets_border_equals_eager(frames: int) -> None:
    """A window that just fits a bucket, one that leaves a frame, and one that needs the next sound as without any."""
    assert_same_sound(mel_of(frames, seed=frames), [(0, frames)], ahead_frames=0)


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 9])
def test_captured_sound_of_a_few_frames_equals_eager(frames: int) -> None:
    """A bucket that is nearly empty changes nothing: every layer sees silence where the segment ends."""
    assert_same_sound(mel_of(frames), [(0, frames)], ahead_frames=0)


@given(
    cuts=st.lists(st.integers(0, 120), max_size=6),
    ahead_frames=st.sampled_from([0, 3, 8]),
    segment=st.integers(0, 3),
)
@settings(deadline=None, max_examples=15)
def test_captured_sound_any_chunks_equals_eager(cuts: list[int], ahead_frames: int, segment: int) -> None:
    """However mel arrives, each piece of sound and each state is the eager stage's, the fade at the start included."""
    assert_same_sound(mel_of(130), list(pairwise([0, *sorted(cuts), 130])), ahead_frames=ahead_frames, segment=segment)


def test_captured_sound_windows_no_bucket_holds_are_left_to_the_eager_stage() -> None:
    """A window of 100 frames, where buckets end at 64, sounds all the same, and the next one is captured again."""
    assert_same_sound(mel_of(140), [(0, 100), (100, 120), (120, 140)], ahead_frames=8)


def sounded(segment: int) -> Iterator[torch.Tensor]:
    """Yield a segment's sound, piece by piece, as it is asked for."""
    mel, state = mel_of(100, seed=segment), WaveformState()
    for start, end in pairwise([0, 14, 30, 55, 100]):
        ahead, final = mel[:, end : end + 8], end == 100
        state, wave = captured().sound(
            planted().vocoder, state, mel[:, start:end], random_of(segment), ahead=ahead, final=final
        )
        yield wave


def test_captured_sound_two_interleaved_equal_each_alone() -> None:
    """Two segments that take turns on one stage sound bit for bit as each alone: nothing of them stays in it."""
    alone = [torch.cat(list(sounded(segment))) for segment in (1, 2)]

    turns = list(zip(sounded(1), sounded(2), strict=True))

    for place in range(2):
        assert torch.equal(alone[place], torch.cat([turn[place] for turn in turns]))


def test_captured_sound_again_gives_the_same_bits() -> None:
    """A step that is made again, from the same state, brings the same samples and the same next state."""
    mel, state = mel_of(60), WaveformState()
    state, _ = captured().sound(planted().vocoder, state, mel[:, :30], random_of(), ahead=mel[:, 30:38], final=False)

    (first, one), (second, other) = (
        captured().sound(planted().vocoder, state, mel[:, 30:45], random_of(), ahead=mel[:, 45:53], final=False)
        for _ in range(2)
    )

    assert torch.equal(one, other)
    assert torch.equal(first.source, second.source)
    assert torch.equal(first.cycles, second.cycles)


def test_captured_sound_with_random_numbers_of_upstream_is_eager() -> None:
    """Numbers that are drawn in order have no key to hash; they are used all the same."""
    mel, vocoder = mel_of(20), planted().vocoder
    drawn = UpstreamRandom(torch.Generator().manual_seed(1))
    drawn.draw_source(sample_count=20 * 480, harmonic_count=9)

    _, expected = sound(vocoder, WaveformState(), mel, drawn, ahead=mel[:, :0], final=True)
    _, wave = captured().sound(vocoder, WaveformState(), mel, drawn, ahead=mel[:, :0], final=True)

    assert torch.equal(expected, wave)


def test_captured_sound_of_another_network_is_its_own() -> None:
    """A network that was not captured is not mistaken for the one that was."""
    other, mel = planted_s3gen(prompt_tokens=9).vocoder, mel_of(20)

    _, expected = sound(other, WaveformState(), mel, random_of(), ahead=mel[:, :0], final=True)
    _, wave = captured().sound(other, WaveformState(), mel, random_of(), ahead=mel[:, :0], final=True)

    assert not captured().captures(other)
    assert torch.equal(expected, wave)


def test_captured_sound_no_mel_at_all_is_no_sound() -> None:
    """A segment without tokens ends without a sample."""
    nothing = torch.zeros(80, 0)

    state, wave = captured().sound(planted().vocoder, WaveformState(), nothing, random_of(), ahead=nothing, final=True)

    assert (0,) == wave.shape
    assert 0 == state.sounded_frames


def test_captured_vocoder_says_what_it_holds() -> None:
    """Before and after its capture, a stage tells how many buckets there are."""
    stage = CapturedVocoder(EagerGraphs(torch.device("cpu")), buckets=(16,))
    before = repr(stage)
    stage.capture(planted().vocoder)

    assert "<CapturedVocoder 0 of 1 buckets | <PlainVocoderOperations>>" == before
    assert "<CapturedVocoder 1 of 1 buckets | <PlainVocoderOperations>>" == repr(stage)


@pytest.mark.parametrize(
    ("channels", "taps", "stride", "dilation"),
    [(256, 7, 1, 5), (256, 11, 1, 1), (256, 30, 15, 1), (256, 3, 1, 3), (32, 11, 1, 5)],
)
def test_convolutions_of_any_shape_are_torchs(channels: int, taps: int, stride: int, dilation: int) -> None:
    """Whether a layer is computed as a matrix product or by the library, it gives the same without its bias."""
    padding = dilation * (taps - 1) // 2
    layer = torch.nn.Conv1d(18, channels, taps, stride=stride, padding=padding, dilation=dilation)
    values = torch.randn(1, 18, 61, generator=torch.Generator().manual_seed(taps))

    with torch.inference_mode():
        expected, actual = layer(values) - layer.bias[:, None], _convolved(layer, values)

    assert torch.allclose(expected, actual, rtol=0, atol=1e-5)


SHARED = (WindowShape(4, 24), WindowShape(2, 24), WindowShape(2, 64))


@functools.cache
def batched() -> CapturedVocoder:
    """Return a stage for several windows, too."""
    stage = CapturedVocoder(EagerGraphs(torch.device("cpu")), buckets=BUCKETS, shared=SHARED)
    stage.capture(planted().vocoder)
    return stage


def piece_of(segment: int, place: int, state: WaveformState, *, alone: bool = False) -> Sounding:
    """Return a piece of one of several segments, which are cut differently."""
    mel, cuts = mel_of(100, seed=segment), [0, 14 + segment, 24 + 3 * segment, 60, 100]
    start, end = cuts[place : place + 2]
    return Sounding(
        state=state,
        mel=mel[:, start:end],
        random=random_of(segment),
        ahead=mel[:, end : end + 8],
        final=end == 100,
        alone=alone,
    )


@functools.cache
def by_itself(segment: int) -> list[torch.Tensor]:
    """Return a segment's pieces of sound, each from a replay for itself."""
    state, made = WaveformState(), []
    for place in range(4):
        [(state, wave)] = batched().sound_all(planted().vocoder, [piece_of(segment, place, state)])
        made.append(wave)
    return made


@given(turns=st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=2, max_size=8), reproducible=st.integers(0, 5))
@settings(deadline=None, max_examples=8)
def test_captured_sound_in_any_company_equals_alone(turns: list[set[int]], reproducible: int) -> None:
    """Whoever sounds at once, each segment's samples are its own to rounding, and to the bit for one that is alone.

    2.3e-4 of the peak was the most that was seen: f0 differs by up to 1e-4 Hz, and phases add it up.
    """
    states, places = [WaveformState()] * 6, [0] * 6
    for turn in turns:
        segments = [each for each in turn if places[each] < 4]
        pieces = [piece_of(each, places[each], states[each], alone=each == reproducible) for each in segments]
        for segment, (state, wave) in zip(segments, batched().sound_all(planted().vocoder, pieces), strict=True):
            expected = by_itself(segment)[places[segment]]
            bound = 0.0 if segment == reproducible else COMPANY * float(expected.abs().max()) if len(expected) else 0.0
            assert expected.shape == wave.shape
            assert torch.allclose(expected, wave, rtol=0, atol=bound)
            states[segment], places[segment] = state, places[segment] + 1


def test_captured_sound_of_several_gives_each_its_own_whatever_it_needs() -> None:
    """Pieces without sound, too long for a graph, or with numbers of another source are made beside the others."""
    nothing, long, mel = mel_of(3), mel_of(90), mel_of(20)
    drawn = UpstreamRandom(torch.Generator().manual_seed(1))
    drawn.draw_source(sample_count=20 * 480, harmonic_count=9)
    given_to = [(nothing, random_of(), False), (mel, random_of(), True), (long, random_of(), True), (mel, drawn, True)]
    pieces = [
        Sounding(state=WaveformState(), mel=each, random=random, ahead=each[:, :0], final=final)
        for each, random, final in given_to
    ]

    made = batched().sound_all(planted().vocoder, pieces)

    for (each, random, final), (state, wave) in zip(given_to, made, strict=True):
        theirs, expected = sound(planted().vocoder, WaveformState(), each, random, ahead=each[:, :0], final=final)
        assert theirs.sounded_frames == state.sounded_frames
        assert torch.allclose(expected, wave, rtol=0, atol=TOLERANCE)


def test_captured_sound_beside_what_is_no_number_is_untouched() -> None:
    """A window of NaN leaves those that are replayed with it as they are."""
    good, bad = (
        Sounding(state=WaveformState(), mel=mel, random=random_of(), ahead=mel[:, :0], final=True)
        for mel in (mel_of(20), torch.full((80, 20), torch.nan))
    )
    [(_, expected)] = batched().sound_all(planted().vocoder, [good])

    (_, spoiled), (_, wave) = batched().sound_all(planted().vocoder, [bad, good])

    assert torch.isnan(spoiled[960:]).any()
    assert torch.allclose(expected, wave, rtol=0, atol=COMPANY)


def test_vocoder_shapes_put_windows_of_like_length_together() -> None:
    """Short windows go together, long ones go together, as many as a shape takes; who is left over goes alone."""
    shapes = VocoderShapes(lone=(24, 96, 200), shared=SHARED_SHAPES)

    assert [(WindowShape(4, 96), [2, 0, 3]), (WindowShape(1, 200), [1])] == shapes.batches([40, 150, 35, 90])
    assert [(WindowShape(2, 32), [2, 0]), (WindowShape(2, 152), [3, 1])] == shapes.batches([30, 150, 20, 98])
    assert [(WindowShape(8, 32), 8), (WindowShape(1, 24), 1)] == [
        (shape, len(numbers)) for shape, numbers in shapes.batches([22] * 9)
    ]
    assert [(WindowShape(4, 200), 4), (WindowShape(2, 200), 2)] == [
        (shape, len(numbers)) for shape, numbers in shapes.batches([198] * 6)
    ]
    assert 17 == len(VocoderShapes(lone=FRAME_BUCKETS, shared=SHARED_SHAPES).all())


def test_vocoder_waves_of_the_same_excitations_in_a_batch_equal_each_alone() -> None:
    """Beyond f0, windows of different lengths move each other's samples by rounding only: by 5.5e-7 at most."""
    mel, source = torch.stack([mel_of(24), mel_of(24, seed=2)]), 0.1 * torch.randn(2, 480 * 24)
    frames = torch.tensor([24, 13])
    tables = spectrum_tables(EagerGraphs(torch.device("cpu")))
    decoder = Decoder(vocoder=planted().vocoder, operations=PlainVocoderOperations(), tables=tables)

    with torch.inference_mode():
        mel = torch.where(Extent(frames=frames).holds(24), mel, 0.0)
        together = decoder.wave(mel, source, frames)
        rows = zip(mel.split(1), source.split(1), frames.split(1), strict=True)
        alone = [decoder.wave(*row)[0] for row in rows]

    for row, count in enumerate(frames.tolist()):
        expected = alone[row][: 480 * count]
        assert torch.allclose(expected, together[row][: 480 * count], rtol=0, atol=5e-6 * float(expected.abs().max()))
