"""When a module is used in a day, and whether what was expected came true."""

import pytest

from memory_daemon.predictions import Prediction, Predictions, judged, predicted
from memory_daemon.rhythm import DAY_SECONDS, Rhythm, expected, used
from memory_daemon.types import ModuleName, ServiceName

HOUR = 3600.0
DAY_BEGINS = 20_000 * DAY_SECONDS
NAMED = (ServiceName("speech"), ModuleName("t3"))


def spoken(*hours: float) -> Rhythm:
    """Return the rhythm of a module that was used at these hours of one day."""
    rhythm = Rhythm()
    for hour in hours:
        rhythm = used(rhythm, DAY_BEGINS + hour * HOUR)
    return rhythm


@pytest.mark.parametrize(
    ("hour", "is_expected"),
    [
        pytest.param(24 + 8.2, True, id="the same half hour of the next day"),
        pytest.param(24 + 7.95, True, id="minutes before it"),
        pytest.param(24 + 7.5, False, id="long before it"),
        pytest.param(24 + 8.6, False, id="after it"),
        pytest.param(8.2, False, id="the same day"),
        pytest.param(48 + 8.2, False, id="two days later"),
    ],
)
def test_module_is_expected_at_the_time_of_day_it_was_used(hour: float, *, is_expected: bool) -> None:
    """What was used at eight yesterday is expected at eight today, and minutes before."""
    assert is_expected == expected(spoken(8.1), DAY_BEGINS + hour * HOUR)


def test_prediction_that_is_used_in_time_is_a_hit_and_else_a_miss() -> None:
    """Each prediction is counted once, one way or the other."""
    one = Prediction(service=NAMED[0], module=NAMED[1], uses=5, until_seconds=100.0)
    opened = predicted(Predictions(), one)
    hit = judged(opened, {NAMED: 6}, 50.0)
    miss = judged(judged(opened, {NAMED: 5}, 99.0), {NAMED: 5}, 100.0)

    assert (Predictions(hits=1), Predictions(misses=1)) == (hit, miss)
