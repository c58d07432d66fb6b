"""Sound while mel arrives, against the whole; streaming from tokens to samples; moves and neighbours change nothing."""

import functools
import itertools
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.tiny_s3gen import TinyS3Gen, planted_s3gen
from tts_service.speech.chunked_segment import SpokenChunk, scheduled_chunks, spoken_chunks
from tts_service.speech.mel_chunks import ChunkSchedule
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.waveform import WaveformState, faded_in, sound, vocode

NOTHING = torch.zeros(80, 0)
RANDOM = CounterRandom(seed=5, segment=0)


@functools.cache
def planted() -> TinyS3Gen:
    """Return networks that the tests of this file share; nothing changes them."""
    return planted_s3gen(prompt_tokens=8)


def tokens_of(count: int, seed: int = 1) -> list[int]:
    """Return any tokens, always the same."""
    return torch.randint(0, 6561, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def mel_of(frames: int, seed: int = 1) -> torch.Tensor:
    """Return any mel."""
    return torch.randn(80, frames, generator=torch.Generator().manual_seed(seed))


def split(count: int, cuts: list[int]) -> list[tuple[int, int]]:
    """Return the spans between these places."""
    return list(pairwise([0, *sorted(min(cut, count) for cut in cuts), count]))


def sounded(mel: torch.Tensor, spans: list[tuple[int, int]], *, ahead_frames: int) -> list[torch.Tensor]:
    """Return the sound that each piece of mel brings, when so much of what follows is shown ahead of it."""
    state, pieces = WaveformState(), []
    for place, (start, end) in enumerate(spans):
        final = place == len(spans) - 1
        ahead = NOTHING if final else mel[:, end : end + ahead_frames]
        state, wave = sound(planted().vocoder, state, mel[:, start:end], RANDOM, ahead=ahead, final=final)
        pieces.append(wave)
    return pieces


@given(frames=st.integers(0, 160), cuts=st.lists(st.integers(0, 160), max_size=5))
@settings(deadline=None, max_examples=15)
def test_sound_any_chunks_equals_the_whole(frames: int, cuts: list[int]) -> None:
    """However mel arrives, with the 8 held frames shown ahead, the waveform is the whole's to 1e-3 of its peak."""
    mel = mel_of(frames)
    whole = sounded(mel, [(0, frames)], ahead_frames=0)[0]
    spans = split(frames, [min(cut, max(0, frames - 8)) for cut in cuts])

    chunked = torch.cat(sounded(mel, spans, ahead_frames=8))

    assert (480 * frames,) == whole.shape == chunked.shape
    assert (chunked - whole).abs().max() <= 1e-3 * whole.abs().max() if frames else True


def test_sound_without_mel_ahead_would_be_wrong_at_the_first_seam() -> None:
    """Why held frames are shown to the vocoder: without them the first chunk misses the gate of 1e-3."""
    mel, spans = mel_of(120), [(0, 14), (14, 120)]
    whole = sounded(mel, [(0, 120)], ahead_frames=0)[0]

    chunked = torch.cat(sounded(mel, spans, ahead_frames=0))

    assert (chunked - whole).abs().max() > 2e-3 * whole.abs().max()


def test_vocode_windows_with_the_same_source_equal_the_whole() -> None:
    """Given the same excitation, windows with 14 frames of context give the whole's samples; with 8 they do not."""
    vocoder, mel = planted().vocoder, mel_of(200)
    source = 0.1 * torch.randn(200 * 480, generator=torch.Generator().manual_seed(2))
    whole = vocode(vocoder, mel, source)

    def error(context: int) -> float:
        pieces = []
        for start, end in split(200, [40, 75, 130]):
            first, last = max(0, start - context), min(200, end + context)
            window = vocode(vocoder, mel[:, first:last], source[first * 480 : last * 480])
            pieces.append(window[(start - first) * 480 : (end - first) * 480])
        return float((torch.cat(pieces) - whole).abs().max() / whole.abs().max())

    assert error(14) <= 1e-3 < error(8)


def test_sound_first_chunk_comes_with_nine_frames_of_context() -> None:
    """Speech begins as soon as 9 frames lie behind it, later chunks keep 14 behind them."""
    pieces = sounded(mel_of(60), [(0, 8), (8, 14), (14, 30), (30, 60)], ahead_frames=8)

    assert [0, 5 * 480, 11 * 480, 44 * 480] == [len(piece) for piece in pieces]


def test_sound_begins_with_the_fade_of_the_segment_only() -> None:
    """20 ms of silence and 20 ms of rise at the start, even if it arrives in two chunks, and nowhere else."""
    mel = mel_of(40)
    wave = torch.cat(sounded(mel, [(0, 9), (9, 24), (24, 40)], ahead_frames=8))

    unfaded = wave[960:]

    assert 0 == wave[:480].abs().max()
    assert 0 < wave[480:720].abs().max()
    assert all(unfaded[place : place + 480].abs().max() > 1e-3 for place in range(0, len(unfaded), 480))


@given(count=st.integers(0, 1_500), cuts=st.lists(st.integers(0, 1_500), max_size=4))
@settings(deadline=None, max_examples=40)
def test_faded_in_pieces_equals_the_whole(count: int, cuts: list[int]) -> None:
    """The fade depends on where a sample is, not on the piece that it comes in."""
    wave = torch.ones(count)

    pieces = [faded_in(wave[start:end], start_sample=start) for start, end in split(count, cuts)]

    assert torch.equal(faded_in(wave, start_sample=0), torch.cat(pieces))


def test_sound_no_mel_at_all_is_no_sound() -> None:
    """A segment without tokens ends without a sample."""
    state, wave = sound(planted().vocoder, WaveformState(), NOTHING, RANDOM, ahead=NOTHING, final=True)

    assert (0,) == wave.shape
    assert "<WaveformState 0 of 0 frames sounded>" == repr(state)


def test_sound_keeps_a_bounded_past() -> None:
    """The state of a long segment holds 28 frames, whatever its length."""
    mel, state = mel_of(400), WaveformState()
    for start in range(0, 400, 40):
        state, _ = sound(planted().vocoder, state, mel[:, start : start + 40], RANDOM, ahead=NOTHING, final=False)

    assert (80, 28) == state.mel.shape
    assert (23 * 480,) == state.source.shape


def spoken(chunks: list[list[int]], *, seed: int = 5) -> Iterator[SpokenChunk]:
    """Speak chunks of tokens with the shared networks."""
    net = planted()
    return spoken_chunks(net.flow, net.vocoder, net.prompt, chunks, CounterRandom(seed=seed, segment=0))


def joined(spoken_so: Iterator[SpokenChunk]) -> torch.Tensor:
    """Return the waveform of all chunks."""
    return torch.cat([chunk.wave for chunk in spoken_so])


@given(count=st.integers(1, 120), cuts=st.lists(st.integers(0, 120), max_size=4))
@settings(deadline=None, max_examples=12)
def test_spoken_chunks_every_token_is_960_samples(count: int, cuts: list[int]) -> None:
    """From one token to five seconds, in any chunks, nothing is lost and nothing is added."""
    tokens = tokens_of(count)

    wave = joined(spoken([tokens[start:end] for start, end in split(count, cuts)]))

    assert (960 * count,) == wave.shape
    assert torch.isfinite(wave).all()


def test_spoken_chunks_last_tokens_are_heard() -> None:
    """The last token changes the last sound: the end of a sentence is not decoded as if it went on."""
    tokens = tokens_of(40)
    changed = [*tokens[:-1], (tokens[-1] + 1) % 6561]

    one, other = (joined(spoken(scheduled_chunks(each, ChunkSchedule()))) for each in (tokens, changed))

    assert not torch.equal(one[-960:], other[-960:])


def test_spoken_chunks_first_sound_needs_fourteen_tokens() -> None:
    """Fourteen tokens are heard for 0.1 s before the fifteenth is there."""
    tokens = tokens_of(40)

    first = next(spoken([tokens[:14], tokens[14:]]))

    assert (80, 14) == first.mel.shape
    assert (2_400,) == first.wave.shape


def test_spoken_chunks_sound_that_is_out_never_changes() -> None:
    """What was heard is the same whatever comes after it."""
    begin = tokens_of(30)
    chunks = scheduled_chunks(begin, ChunkSchedule())[:2]

    heard = [[chunk.wave for chunk in itertools.islice(spoken([*chunks, tokens_of(20, seed)]), 2)] for seed in (2, 3)]

    assert all(torch.equal(one, other) for one, other in zip(*heard, strict=True))


def test_spoken_chunks_moves_between_steps_change_nothing() -> None:
    """Weights copied out, lost and brought back to another address between any two steps give the same samples."""
    net = planted_s3gen(prompt_tokens=8)
    chunks = scheduled_chunks(tokens_of(45), ChunkSchedule())
    expected = joined(spoken(chunks))
    steps = spoken_chunks(net.flow, net.vocoder, net.prompt, chunks, CounterRandom(seed=5, segment=0))

    pieces = []
    for chunk in steps:
        pieces.append(chunk.wave)
        moved(net.flow)
        moved(net.vocoder)

    assert torch.equal(expected, torch.cat(pieces))


def moved(module: Any) -> None:
    """Take a module's parameters and buffers away, spoil what is left, and put copies back at other addresses."""
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        saved = tensor.detach().clone()
        tensor.data.fill_(torch.nan)
        tensor.data = saved.clone()


def test_spoken_chunks_two_interleaved_equal_each_alone() -> None:
    """Two utterances that take turns on the same modules sound as each alone: nothing of them is on the modules."""
    plans = [(scheduled_chunks(tokens_of(60, seed), ChunkSchedule()), seed) for seed in (1, 2)]
    alone = [joined(spoken(chunks, seed=seed)) for chunks, seed in plans]

    turns = list(zip(*(spoken(chunks, seed=seed) for chunks, seed in plans), strict=True))

    for place in range(2):
        assert torch.equal(alone[place], torch.cat([turn[place].wave for turn in turns]))


@pytest.mark.parametrize("meanflow", [False, True], ids=["guided", "meanflow"])
def test_spoken_chunks_with_either_estimator_follow_the_whole(meanflow: bool) -> None:  # noqa: FBT001 - a parameter.
    """In chunks the mel is much more like the whole's than with other noise, and of the same length."""
    net, tokens = planted_s3gen(meanflow=meanflow, prompt_tokens=8), tokens_of(60)

    def mel(chunks: list[list[int]], seed: int) -> torch.Tensor:
        random = CounterRandom(seed=seed, segment=0)
        spoken_so = spoken_chunks(net.flow, net.vocoder, net.prompt, chunks, random)
        return torch.cat([chunk.mel for chunk in spoken_so], dim=1)

    whole = mel([tokens], 1)
    streamed = mel(scheduled_chunks(tokens, ChunkSchedule()), 1)

    assert (80, 120) == whole.shape == streamed.shape
    assert (streamed - whole).std() < 0.25 * (mel([tokens], 2) - whole).std()
