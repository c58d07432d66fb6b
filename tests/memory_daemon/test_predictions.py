"""Whether what was expected came true."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_daemon.modules import ModuleHistory
from memory_daemon.predictions import Ground, Named, Prediction, Predictions, Tally, judged, predicted
from memory_daemon.types import ModuleName, ServiceName

NAMED: Named = (ServiceName("speech"), ModuleName("t3"))
ONE = Prediction(
    service=NAMED[0], module=NAMED[1], ground=Ground.TIME_OF_DAY, uses=5, until_unix_seconds=100.0, came=False
)
OPEN = predicted(Predictions(), ONE)


def history(uses: int, *, at_home: bool = True) -> ModuleHistory:
    """Return a module that has been used so often."""
    return ModuleHistory(at_home=at_home, since_seconds=None, uses=uses, counted_at_seconds=0.0, calls_per_second=0.0)


def looked_at(*looks: tuple[float, ModuleHistory | None]) -> Predictions:
    """Return the predictions after looks at the module."""
    predictions = OPEN
    for seconds, seen in looks:
        predictions = judged(predictions, {} if seen is None else {NAMED: seen}, seconds)
    return predictions


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param([(50.0, history(6))], (1, 0, 0), id="used in time"),
        pytest.param([(99.0, history(5))], (0, 0, 1), id="not decided yet"),
        pytest.param([(99.0, history(5)), (100.0, history(5))], (0, 1, 0), id="not used in time"),
        pytest.param([(10.0, history(5, at_home=False)), (50.0, history(6))], (1, 0, 0), id="used as it came"),
        pytest.param([(10.0, history(5)), (20.0, history(5, at_home=False))], (0, 1, 0), id="sent away unused"),
        pytest.param([(10.0, history(5)), (20.0, history(0)), (30.0, history(1))], (1, 0, 0), id="service restarted"),
        pytest.param([(10.0, history(5)), (20.0, None), (30.0, history(6))], (1, 0, 0), id="service away for a while"),
        pytest.param([(10.0, history(5)), (100.0, None)], (0, 1, 0), id="service gone for good"),
        pytest.param([(10.0, history(6)), (20.0, history(9))], (1, 0, 0), id="used again"),
    ],
)
def test_prediction_is_counted_once_as_it_ended(
    looks: list[tuple[float, ModuleHistory | None]], expected: tuple[int, int, int]
) -> None:
    """A prediction is a hit if the module was used while it was there for it, and a miss if not."""
    found = looked_at(*looks)

    assert expected == (found.hits, found.misses, len(found.open))


def test_predictions_of_two_grounds_are_counted_apart() -> None:
    """What the time of day foretells, and what late use does, can be trusted differently."""
    other = replace(ONE, module=ModuleName("flow"), ground=Ground.LATELY_USED)
    both = predicted(OPEN, other)
    found = judged(both, {NAMED: history(6), (NAMED[0], other.module): history(5)}, 100.0)

    assert {Ground.TIME_OF_DAY: Tally(hits=1), Ground.LATELY_USED: Tally(misses=1)} == found.tallies


def test_verdicts_are_told_for_one_look() -> None:
    """What the last look ended is there to be recorded, and gone at the next."""
    ended = looked_at((50.0, history(6)))
    later = judged(ended, {NAMED: history(6)}, 51.0)

    assert [True] == [verdict.hit for verdict in ended.ended]
    assert () == later.ended


LOOKS = st.lists(
    st.tuples(
        st.floats(min_value=0, max_value=30), st.integers(min_value=0, max_value=2), st.booleans(), st.booleans()
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=150)
@given(looks=LOOKS)
def test_predictions_of_any_course_end_once_each(looks: list[tuple[float, int, bool, bool]]) -> None:
    """However often a module is predicted, used and moved, every prediction is open, a hit or a miss, and only one."""
    predictions, now, uses, made = Predictions(), 0.0, 0, 0
    for passed, used, at_home, predict in looks:
        now, uses = now + passed, uses + used
        predictions = judged(predictions, {NAMED: history(uses, at_home=at_home)}, now)
        if predict and not predictions.open:
            made += 1
            predictions = predicted(predictions, replace(ONE, uses=uses, until_unix_seconds=now + 20))

    assert made == predictions.made
    assert all(one.until_unix_seconds > now for one in predictions.open)
