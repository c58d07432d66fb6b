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
from tts_service.speech.captured.vocoder_layers import _convolved
from tts_service.speech.captured.vocoder_stage import CapturedVocoder
from tts_service.speech.random_source import CounterRandom, UpstreamRandom
from tts_service.speech.waveform import WaveformState, sound

BUCKETS = (16, 24, 40, 64)
TOLERANCE = 1e-4
"""Of the peak."""


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
