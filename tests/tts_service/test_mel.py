"""Mel while tokens arrive: bounds, blending, freezing, and that nothing is lost."""

import functools
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.tiny_s3gen import TinyS3Gen, planted_s3gen
from tts_service.errors import Reason, ServiceError
from tts_service.speech.mel import CONTEXT_TOKENS, HELD_FRAMES, MelState, context_start, decode_mel, with_tokens
from tts_service.speech.mel_flow import flow_mel, mel_frames
from tts_service.speech.random_source import CounterRandom


@functools.cache
def planted() -> TinyS3Gen:
    """Return networks that the tests of this file share; nothing changes them."""
    return planted_s3gen(prompt_tokens=8)


def tokens_of(count: int, seed: int = 1) -> list[int]:
    """Return any tokens, always the same."""
    return torch.randint(0, 6561, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def decoded(chunks: list[list[int]], random: CounterRandom) -> list[torch.Tensor]:
    """Return the mel that each chunk brings; the last ends the segment."""
    net, state, pieces = planted(), MelState(), []
    for place, tokens in enumerate(chunks):
        final = place == len(chunks) - 1
        state, mel = decode_mel(net.flow, with_tokens(state, tokens), net.prompt, random, final=final)
        pieces.append(mel)
    return pieces


def split(tokens: list[int], cuts: list[int]) -> list[list[int]]:
    """Cut tokens at these places."""
    edges = [0, *sorted(min(cut, len(tokens)) for cut in cuts), len(tokens)]
    return [tokens[start:end] for start, end in pairwise(edges)]


@given(count=st.integers(0, 60), cuts=st.lists(st.integers(0, 60), max_size=4))
@settings(deadline=None, max_examples=12)
def test_decode_mel_any_chunks_gives_two_frames_a_token(count: int, cuts: list[int]) -> None:
    """However tokens arrive, and even if none does, two frames come out for each when the segment ends."""
    pieces = decoded(split(tokens_of(count), cuts), CounterRandom(seed=1, segment=0))

    assert (80, 2 * count) == torch.cat(pieces, dim=1).shape


def test_decode_mel_at_once_is_one_flow_decode() -> None:
    """A segment that arrives whole is one decode, with the noise of its frames and of the prompt's before them."""
    net, tokens, random = planted(), tokens_of(30), CounterRandom(seed=2, segment=3)
    noise = random.mel_noise(-16, 16 + 60)

    expected = flow_mel(net.flow, net.prompt, torch.tensor(tokens), noise, final=True)

    assert torch.equal(expected, torch.cat(decoded([tokens], random), dim=1))


def test_decode_mel_in_chunks_stays_close_to_the_whole() -> None:
    """With the same noise for the same frames, chunks differ from the whole by little of what fresh noise does."""
    tokens, random = tokens_of(60), CounterRandom(seed=2, segment=0)
    whole = torch.cat(decoded([tokens], random), dim=1)

    chunked = torch.cat(decoded(split(tokens, [14, 26, 44]), random), dim=1)

    fresh = torch.cat(decoded([tokens], CounterRandom(seed=3, segment=0)), dim=1)
    assert (chunked - whole).std() < 0.25 * whole.std() < 0.25 * (fresh - whole).std()


def test_decode_mel_holds_back_and_blends_into_the_next_decode() -> None:
    """Held frames come out as a mixture that begins near the old decode and ends near the new one."""
    net, tokens, random = planted(), tokens_of(40), CounterRandom(seed=4, segment=0)
    state, first = decode_mel(net.flow, with_tokens(MelState(), tokens[:14]), net.prompt, random, final=False)
    held = state.held.clone()

    state, second = decode_mel(net.flow, with_tokens(state, tokens[14:]), net.prompt, random, final=False)

    new = flow_mel(net.flow, net.prompt, torch.tensor(tokens), random.mel_noise(-16, 16 + 74), final=False)
    share = torch.arange(1, 9) / 9
    assert (80, 14) == first.shape
    assert (80, HELD_FRAMES) == held.shape
    torch.testing.assert_close(held * (1 - share) + new[:, 14:22] * share, second[:, :8])
    torch.testing.assert_close(new[:, 22:66], second[:, 8:], atol=1e-6, rtol=0)
    assert (66, 74) == (state.frozen_frames, state.decoded_frames)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_decode_mel_too_few_tokens_gives_nothing_and_changes_nothing(count: int) -> None:
    """Tokens that only serve as look-ahead bring no mel, and are not lost."""
    state = with_tokens(MelState(), tokens_of(count))

    after, mel = decode_mel(planted().flow, state, planted().prompt, CounterRandom(seed=1, segment=0), final=False)

    assert state is after
    assert (80, 0) == mel.shape


def test_decode_mel_nothing_new_gives_nothing() -> None:
    """Decoding again without new tokens changes nothing, before and after the end."""
    net, random = planted(), CounterRandom(seed=1, segment=0)
    open_state, _ = decode_mel(net.flow, with_tokens(MelState(), tokens_of(12)), net.prompt, random, final=False)
    ended_state, _ = decode_mel(net.flow, open_state, net.prompt, random, final=True)

    again = [
        decode_mel(net.flow, open_state, net.prompt, random, final=False),
        decode_mel(net.flow, ended_state, net.prompt, random, final=True),
    ]

    assert [(open_state, 0), (ended_state, 0)] == [(state, mel.shape[1]) for state, mel in again]


def test_decode_mel_long_segment_sees_a_bounded_context() -> None:
    """A token further back than the context no longer matters, and one within it does."""
    net, random, tokens = planted(), CounterRandom(seed=1, segment=0), tokens_of(CONTEXT_TOKENS + 60)
    state = with_tokens(MelState(), tokens[: CONTEXT_TOKENS + 40])
    state, _ = decode_mel(net.flow, state, net.prompt, random, final=False)
    begin = context_start(state.frozen_frames)

    def last_mel(changed: int) -> torch.Tensor:
        altered = [*state.tokens[:changed], (state.tokens[changed] + 1) % 6561, *state.tokens[changed + 1 :]]
        other = MelState(tokens=tuple(altered), frozen_frames=state.frozen_frames, held=state.held)
        return decode_mel(net.flow, with_tokens(other, tokens[-20:]), net.prompt, random, final=True)[1]

    expected = decode_mel(net.flow, with_tokens(state, tokens[-20:]), net.prompt, random, final=True)[1]

    assert begin > 0
    assert torch.equal(expected, last_mel(begin - 1))
    assert not torch.equal(expected, last_mel(begin))


def test_decode_mel_steps_can_be_made_again() -> None:
    """A step whose result was lost is made again from the same state, with the same result."""
    net, random = planted(), CounterRandom(seed=1, segment=0)
    state, _ = decode_mel(net.flow, with_tokens(MelState(), tokens_of(14)), net.prompt, random, final=False)
    state = with_tokens(state, tokens_of(9))

    first, again = (decode_mel(net.flow, state, net.prompt, random, final=True)[1] for _ in range(2))

    assert torch.equal(first, again)


def test_decode_mel_leaves_inference_mode_behind() -> None:
    """A step enters inference mode inside and leaves it: the caller's own tensors can still learn."""
    decoded([tokens_of(5)], CounterRandom(seed=1, segment=0))

    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("token", [-1, 6561, 6562])
def test_with_tokens_outside_the_codebook_is_refused(token: int) -> None:
    """A token that would make the embedding read past its end never gets there."""
    with pytest.raises(ServiceError) as caught:
        with_tokens(MelState(), [1, token])

    assert Reason.ENGINE_FAULT is caught.value.reason


def test_mel_frames_counts_look_ahead() -> None:
    """Two frames a token; the last three tokens give none before the end."""
    assert [0, 0, 2, 6] == [mel_frames(n, final=f) for n, f in ((0, True), (3, False), (4, False), (3, True))]


def test_mel_state_shows_itself() -> None:
    """A state says how far it is."""
    assert "<MelState 2 tokens | 0 frames out, 0 held>" == repr(with_tokens(MelState(), [1, 2]))
