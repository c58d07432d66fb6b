"""Arrivals that wait for nobody, and texts as they are written."""

import random
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.load.arrivals import Arrivals, arrival_times
from benchmarks.load.sentences import SENTENCES, Texts, long_text, written


def test_even_arrivals_are_equally_far_apart() -> None:
    """Ten a second are a tenth of a second apart, half a gap from the beginning."""
    times = list(arrival_times(Arrivals.EVEN, 10.0, 1.0, random.Random(1)))

    assert pytest.approx([0.05 + 0.1 * place for place in range(10)]) == times


def test_poisson_arrivals_come_at_their_rate_and_bunch_as_chance_has_it() -> None:
    """Gaps have the mean of the rate, and a spread as large as their mean, which even ones do not."""
    times = list(arrival_times(Arrivals.POISSON, 50.0, 200.0, random.Random(7)))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5

    assert pytest.approx(1 / 50.0, rel=0.05) == mean
    assert pytest.approx(mean, rel=0.08) == spread


@settings(deadline=None, max_examples=50)
@given(
    kind=st.sampled_from(list(Arrivals)), rate=st.floats(0.1, 50.0), seconds=st.floats(0.0, 20.0), seed=st.integers(0)
)
def test_arrivals_rise_within_their_time_and_are_the_same_for_a_seed(
    kind: Arrivals, rate: float, seconds: float, seed: int
) -> None:
    """A run can be repeated, and nothing arrives after its end."""
    times = list(arrival_times(kind, rate, seconds, random.Random(seed)))

    assert list(arrival_times(kind, rate, seconds, random.Random(seed))) == times
    assert sorted(times) == times
    assert all(0.0 <= at < seconds for at in times)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0), speed=st.floats(1.0, 500.0), jitter=st.floats(0.0, 1.0))
def test_words_that_are_written_one_by_one_are_the_text(seed: int, speed: float, jitter: float) -> None:
    """Pieces together are the text to the letter, in rising time, and within the jitter of the speed."""
    text = Texts(random.Random(seed), words=20.0).utterance()
    pieces = list(written(text, random.Random(seed), tokens_per_second=speed, jitter=jitter))
    tokens = sum(-(-len(piece) // 4) for _, piece in pieces[:-1])

    assert text == "".join(piece for _, piece in pieces)
    assert [at for at, _ in pieces] == sorted(at for at, _ in pieces)
    assert tokens / speed * (1 - jitter) - 1e-9 <= pieces[-1][0] <= tokens / speed * (1 + jitter) + 1e-9


def test_text_without_a_speed_comes_whole() -> None:
    """It is one piece at once."""
    assert [(0.0, "All of it.")] == list(written("All of it.", random.Random(1), tokens_per_second=0.0, jitter=0.5))


def test_utterances_have_the_median_that_was_asked_for_and_vary() -> None:
    """Half are longer than the median, about; a sentence is never cut."""
    texts = Texts(random.Random(3), words=20.0)
    lengths = sorted(len(texts.utterance().split()) for _ in range(500))

    assert 16 <= lengths[250] <= 24
    assert lengths[25] < 10
    assert lengths[475] > 40
    assert all(sentence.strip()[-1] in ".?!" for sentence in SENTENCES)


def test_text_of_an_hour_fits_into_one_utterance() -> None:
    """It is as long as was asked for, and below what the service takes."""
    text = long_text(random.Random(1), seconds=3_600.0)

    assert 54_000 <= len(text.encode()) <= 64 * 1024
    assert 2 == len(list(islice(text.split(". "), 2)))
