"""How full the lanes are with a crowd."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_service.scheduling.capacity import Crowd, Usage, load_of, standing_of
from tts_service.scheduling.costs import Costs, expected, observed
from tts_service.scheduling.figures import H100_ENGLISH, H100_TURBO
from tts_service.scheduling.work import Together, Work

TOGETHER = Together(segments=32, chunks=8)
COSTS = Costs(figures=H100_ENGLISH)


def test_lanes_of_nobody_are_empty_and_one_more_fills_them() -> None:
    """There is no load without a session, and some with one."""
    standing = standing_of(Crowd(speaking=0, listening=0), COSTS, Usage(), TOGETHER)

    assert 0.0 == standing.load < standing.load_with_one < 0.1


def test_load_of_64_english_sessions_fits_and_of_128_does_not() -> None:
    """With measured figures an H100 holds what is asked of it, and not twice as much."""
    loads = [load_of(count, COSTS, Usage(), TOGETHER).fullest for count in (64, 128)]

    assert loads[0] < 0.9 < loads[1]


def test_load_of_turbo_is_a_fraction_of_englishs() -> None:
    """Two steps of the solver instead of ten, and one row of tokens instead of two."""
    turbo, english = (load_of(32, Costs(figures=each), Usage(), TOGETHER) for each in (H100_TURBO, H100_ENGLISH))

    assert turbo.sound < 0.7 * english.sound
    assert turbo.tokens < english.tokens


def test_listeners_count_for_a_share_of_speakers() -> None:
    """Who may speak at any moment is half of one who does."""
    usage = Usage(listening_share=0.5)
    half, all_speak = (
        standing_of(crowd, COSTS, usage, TOGETHER).load
        for crowd in (Crowd(speaking=0, listening=20), Crowd(speaking=10, listening=0))
    )

    assert pytest.approx(all_speak) == half


def test_load_follows_what_is_measured() -> None:
    """A decode that takes twice as long fills the lane of sound by more."""
    costs = COSTS
    for _ in range(200):
        costs = observed(costs, Work.SOLVE, 8, 2 * expected(COSTS, Work.SOLVE, 8))

    assert load_of(32, costs, Usage(), TOGETHER).sound > 1.4 * load_of(32, COSTS, Usage(), TOGETHER).sound


@given(
    speaking=st.integers(min_value=0, max_value=300),
    listening=st.integers(min_value=0, max_value=300),
    factors=st.dictionaries(
        st.tuples(st.sampled_from(Work), st.integers(min_value=0, max_value=6)),
        st.floats(min_value=0.2, max_value=5.0),
        max_size=8,
    ),
)
@settings(deadline=None, max_examples=100)
def test_one_session_more_is_always_more_load(
    speaking: int, listening: int, factors: dict[tuple[Work, int], float]
) -> None:
    """Whatever was learned, however oddly: a session never comes for nothing."""
    costs = Costs(figures=H100_ENGLISH, factors=factors)
    standing = standing_of(Crowd(speaking=speaking, listening=listening), costs, Usage(), TOGETHER)

    assert standing.load < standing.load_with_one
    assert standing.first_audio_seconds > 0.0
