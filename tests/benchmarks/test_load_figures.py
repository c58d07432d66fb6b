"""What the load tool makes of many numbers: percentiles, fairness, trends, and a search."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.load.bisection import Search
from benchmarks.load.fairness import Shares
from benchmarks.load.histogram import GROWTH, Histogram
from benchmarks.load.trend import slope

TIMES = st.lists(st.floats(1e-5, 1e3), min_size=1, max_size=200)
SHARES = st.lists(st.floats(0.01, 1e3), min_size=1, max_size=50)


@settings(deadline=None, max_examples=100)
@given(times=TIMES, share=st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_percentile_is_at_most_a_range_above_the_true_one(times: list[float], share: float) -> None:
    """It is never too small, never more than 2 % too large, and count, sum and maximum are exact."""
    histogram = Histogram()
    for seconds in times:
        histogram.add(seconds)
    ordered = sorted(times)
    true = next(value for place, value in enumerate(ordered, 1) if place >= share * len(ordered))

    assert true * (1 - 1e-9) <= histogram.percentile(share) <= true * GROWTH * (1 + 1e-9)
    assert (len(times), max(times)) == (histogram.count, histogram.max_seconds)
    assert pytest.approx(sum(times)) == histogram.sum_seconds


def test_histogram_of_nothing_has_figures_of_nothing() -> None:
    """No time is no error."""
    assert 0.0 == Histogram().percentile(0.99)
    assert 0 == Histogram().figures().count


@settings(deadline=None, max_examples=100)
@given(shares=SHARES, factor=st.floats(0.1, 10.0))
def test_fairness_is_between_one_of_all_and_one_whatever_the_unit(shares: list[float], factor: float) -> None:
    """Jain's index is within [1/n, 1] and does not depend on the scale."""
    plain, scaled = Shares(), Shares()
    for share in shares:
        plain.add(share)
        scaled.add(factor * share)

    assert 1 / len(shares) - 1e-9 <= plain.index <= 1 + 1e-9
    assert pytest.approx(plain.index) == scaled.index


def test_fairness_is_one_for_equals_and_a_half_if_half_get_nothing() -> None:
    """The index is the share of sessions that are served, where those are served alike."""
    equal, half = Shares(), Shares()
    for _ in range(4):
        equal.add(3.0)
        half.add(5.0)
        half.add(0.0)

    assert (1.0, 0.5) == (equal.index, half.index)


def test_trend_of_a_line_with_odd_readings_is_its_slope() -> None:
    """A few readings far off change nothing."""
    points = [(float(at), 2.0 * at + (500.0 if at % 17 == 0 else 0.0)) for at in range(300)]

    assert pytest.approx(2.0, abs=0.05) == slope(points)
    assert 0.0 == slope([(1.0, 5.0)])


@settings(deadline=None, max_examples=200)
@given(truth=st.integers(0, 600), first=st.integers(1, 64), most=st.integers(64, 512), precision=st.floats(0.0, 0.2))
def test_search_finds_the_largest_that_works_in_few_trials(truth: int, first: int, most: int, precision: float) -> None:
    """The answer works and is within its precision of the truth; nothing is tried twice, or beyond the most."""
    search, tried = Search(first=first, most=most, precision=precision), []
    while (number := search.next) is not None:
        tried.append(number)
        search = search.told(number, works=number <= truth)
    reachable = min(truth, most)

    assert reachable - max(1.0, precision * search.works) <= search.works <= reachable
    assert len(tried) == len(set(tried)) <= 20
    assert all(1 <= number <= most for number in tried)
