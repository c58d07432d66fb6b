"""The seam of randomness: numbers by place for the product, numbers in upstream's order for comparisons."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_service.speech.random_source import (
    _GOLDEN,
    _WORD,
    CounterRandom,
    UpstreamRandom,
    _mixed,
    _mixed_tensor,
    _signed,
)

SEEDS = st.integers(0, 2**63 - 1)


def test_hash_gives_the_published_numbers() -> None:
    """SplitMix64 from 1234567 gives its well-known sequence, as whole numbers and as tensors."""
    states = [(1234567 + (i + 1) * _GOLDEN) & _WORD for i in range(5)]
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]

    assert expected == [_mixed(state) for state in states]
    assert [_signed(each) for each in expected] == _mixed_tensor(torch.tensor([_signed(s) for s in states])).tolist()


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, start=st.integers(-400, 2000), cuts=st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_noise_does_not_depend_on_how_it_is_cut(seed: int, start: int, cuts: list[int]) -> None:
    """A frame's and a sample's noise is the same in every chunk that holds it, the prompt's frames included."""
    random = CounterRandom(seed=seed, segment=2)
    mel, source = random.mel_noise(start, sum(cuts)), random.source_noise(max(0, start), sum(cuts), 9)
    position = 0
    for count in cuts:
        end = position + count

        assert torch.equal(mel[:, position:end], random.mel_noise(start + position, count))
        assert torch.equal(source[:, position:end], random.source_noise(max(0, start) + position, count, 9))
        position = end


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, segment=st.integers(0, 10_000))
def test_seeds_and_segments_share_no_noise(seed: int, segment: int) -> None:
    """Another seed, segment or purpose gives other numbers."""
    here = CounterRandom(seed=seed, segment=segment).mel_noise(0, 4)
    others = [CounterRandom(seed=seed ^ 1, segment=segment), CounterRandom(seed=seed, segment=segment + 1)]

    assert not any(torch.equal(here, other.mel_noise(0, 4)) for other in others)
    assert not torch.equal(here, CounterRandom(seed=seed, segment=segment).source_noise(0, 4, 80))


def test_noise_is_standard_normal() -> None:
    """Mean, deviation, tails and the correlation of neighbours are those of independent normal numbers."""
    noise = CounterRandom(seed=1, segment=0).source_noise(0, 40_000, 9)

    assert torch.float32 == noise.dtype
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs((noise**4).mean() - 3) < 0.1
    assert 3.5 < noise.abs().max() < 6.8
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < 0.01
    assert abs((noise[1:] * noise[:-1]).mean()) < 0.01


def test_phases_are_the_segments_own() -> None:
    """Phases lie in [-pi, pi), the fundamental's is 0, and a segment's are always the same."""
    random = CounterRandom(seed=5, segment=3)
    phases = random.source_phases(9)
    many = torch.cat([CounterRandom(seed=seed, segment=0).source_phases(9)[1:] for seed in range(400)])

    assert torch.equal(phases, random.source_phases(9))
    assert 0.0 == phases[0]
    assert many.min() >= -math.pi
    assert many.max() < math.pi
    assert abs(many.mean()) < 0.15
    assert abs(many.std() - math.pi / math.sqrt(3)) < 0.1


def test_token_choice_follows_the_softmax() -> None:
    """Over many steps tokens come as often as their probability says; those ruled out never come."""
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    random = CounterRandom(seed=9, segment=1)
    drawn = Counter(int(random.choose_token(shares.log(), step)) for step in range(4000))
    expected = {token: round(4000 * float(share)) for token, share in enumerate(shares)}

    assert 0 == drawn[4]
    # Chi-squared with three degrees of freedom exceeds 16.3 once in a thousand seeds.
    assert sum((drawn[token] - count) ** 2 / count for token, count in expected.items() if count) < 16.3


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, step=st.integers(0, 4096))
def test_token_choice_belongs_to_its_step(seed: int, step: int) -> None:
    """The same step gives the same token, whatever was drawn before it, and torch's generator is not asked."""
    logits = torch.zeros(8194)
    state = torch.get_rng_state()
    first = CounterRandom(seed=seed, segment=0).choose_token(logits, step)
    random = CounterRandom(seed=seed, segment=0)
    random.choose_token(logits, step + 1)
    random.mel_noise(0, 3)

    assert torch.equal(first, random.choose_token(logits, step))
    assert torch.equal(state, torch.get_rng_state())


def test_steps_choose_different_tokens() -> None:
    """Neighbouring steps share no noise, although their places are next to each other."""
    random = CounterRandom(seed=4, segment=0)
    logits = torch.zeros(8194)

    assert len({int(random.choose_token(logits, step)) for step in range(200)}) > 190


def test_upstream_choice_is_the_multinomial_of_the_generator() -> None:
    """The comparison's source takes from the generator what upstream takes, and no more."""
    logits = torch.randn(100, generator=torch.Generator().manual_seed(0))
    theirs, ours = torch.Generator().manual_seed(6), torch.Generator().manual_seed(6)
    random = UpstreamRandom(ours)
    expected = [int(torch.multinomial(logits.softmax(-1)[None], 1, generator=theirs)) for _ in range(20)]

    assert expected == [int(random.choose_token(logits, step)) for step in range(20)]
    assert torch.equal(theirs.get_state(), ours.get_state())


@pytest.mark.parametrize("meanflow", [False, True])
def test_upstream_noise_comes_in_upstreams_order(meanflow: bool) -> None:  # noqa: FBT001  # A parameter of the test.
    """Flow noise, phases, source noise and the dropped noise follow each other on one generator."""
    torch.manual_seed(8)
    own = torch.randn(80, 6) if meanflow else None
    mel = torch.randn(80, 10)
    if own is not None:
        mel[:, 4:] = own
    phases = torch.distributions.Uniform(-math.pi, math.pi).sample((9,))
    phases[0] = 0
    source = torch.randn(9, 48)
    torch.randn(48)
    after = torch.get_rng_state()
    random = UpstreamRandom(torch.Generator().manual_seed(8))
    random.draw_mel(prompt_frames=4, frame_count=6, meanflow=meanflow)
    random.draw_source(sample_count=48, harmonic_count=9)

    assert torch.equal(mel, torch.cat([random.mel_noise(-4, 4), random.mel_noise(0, 6)], dim=1))
    assert torch.allclose(phases, random.source_phases(9), atol=1e-6)
    assert torch.equal(source[:, 5:20], random.source_noise(5, 15, 9))
    assert torch.equal(after, random._generator.get_state())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("random", [UpstreamRandom(torch.Generator()), CounterRandom(seed=0, segment=0)], ids=repr)
def test_logits_without_a_choice_give_some_token(random: UpstreamRandom | CounterRandom, value: float) -> None:
    """Logits that are no numbers cause no fault here, because on a GPU such a fault would end the process."""
    token = int(random.choose_token(torch.full((10,), value), 0))

    assert 0 <= token < 10


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_numbers_are_the_same_on_a_gpu() -> None:
    """Hashes are equal bit by bit; floats differ at most in the last bit."""
    places = torch.arange(-5_000, 5_000)
    here, there = CounterRandom(seed=3, segment=1), CounterRandom(seed=3, segment=1, device="cuda")

    assert torch.equal(_mixed_tensor(places), _mixed_tensor(places.cuda()).cpu())
    assert torch.allclose(here.mel_noise(-3, 500), there.mel_noise(-3, 500).cpu(), rtol=1e-6, atol=1e-7)
    assert torch.equal(
        here.choose_token(torch.zeros(8194), 7), there.choose_token(torch.zeros(8194, device="cuda"), 7).cpu()
    )
