"""What work is taken to cost, before and after it was measured."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.device_figures import ENGLISH, TURBO
from tts_service.scheduling.costs import CLIPPED, WEIGHT, Costs, decode_seconds, expected, observed, tokens_seconds
from tts_service.scheduling.work import Work

COSTS = Costs(figures=ENGLISH)
WORKS = st.sampled_from(Work)
SIZES = st.integers(min_value=1, max_value=128)


@pytest.mark.parametrize(
    ("work", "size", "milliseconds"),
    [
        (Work.TOKEN, 2, 1.04),
        (Work.TOKEN, 64, 2.41),
        (Work.TOKEN, 20, 1.585),
        (Work.SOLVE, 1, 2.5),
        (Work.SOLVE, 15, 12.5),
    ],
)
def test_cost_unmeasured_is_on_the_figures_curve(work: Work, size: int, milliseconds: float) -> None:
    """Between measured sizes it is straight, and beyond the last it goes on as before."""
    actual = 1_000 * expected(COSTS, work, size, beside=0.0)

    assert pytest.approx(milliseconds) == actual


def test_cost_beside_the_other_lane_is_a_third_more() -> None:
    """Half of it beside counts for half of the third."""
    alone = expected(COSTS, Work.SOUND, beside=0.0)

    assert pytest.approx((alone * 7 / 6, alone * 4 / 3)) == (
        expected(COSTS, Work.SOUND, beside=0.5),
        expected(COSTS, Work.SOUND),
    )


def test_decode_of_one_chunk_takes_what_was_measured() -> None:
    """33 ms and the vocoder's 5, and the tokens for a first chunk 25."""
    seconds = (decode_seconds(COSTS, 1, beside=0.0), tokens_seconds(COSTS, 24, 1, beside=0.0))

    assert pytest.approx((0.038, 0.02496)) == seconds


@given(work=WORKS, size=SIZES, times=st.floats(min_value=0.1, max_value=10.0), turbo=st.booleans())
@settings(deadline=None, max_examples=50)
def test_cost_measured_again_and_again_is_believed(work: Work, size: int, times: float, turbo: bool) -> None:  # noqa: FBT001
    """Whatever the device really takes, some hundred measurements find it out."""
    costs = Costs(figures=TURBO if turbo else ENGLISH)
    truth = times * expected(costs, work, size)
    for _ in range(200):
        costs = observed(costs, work, size, truth)

    assert pytest.approx(truth, rel=0.01) == expected(costs, work, size)


@given(work=WORKS, size=SIZES, seconds=st.floats(min_value=0.0, max_value=1e6))
@settings(deadline=None, max_examples=50)
def test_cost_measured_oddly_once_hardly_moves(work: Work, size: int, seconds: float) -> None:
    """One measurement moves an estimate by 4 % at most, however long it took."""
    moved = expected(observed(COSTS, work, size, seconds), work, size) / expected(COSTS, work, size)

    assert abs(math.log(moved)) <= WEIGHT * math.log(CLIPPED) + 1e-9


def test_cost_of_a_size_never_met_is_as_wrong_as_its_neighbour() -> None:
    """What four chunks were seen to take says something of eight, and nothing of other kinds of work."""
    costs = COSTS
    for _ in range(200):
        costs = observed(costs, Work.SOLVE, 4, 2.0 * expected(COSTS, Work.SOLVE, 4))
    learned = [expected(costs, work, 8) / expected(COSTS, work, 8) for work in (Work.SOLVE, Work.ENCODE)]

    assert pytest.approx([2.0, 1.0], rel=0.01) == learned
