"""How far ahead of need work leads."""

from hypothesis import given
from hypothesis import strategies as st

from tts_service.scheduling.urgency import FEW, LEAST_HOLD_SECONDS, hold_seconds


def test_few_get_all_that_they_may_have_and_many_a_stock() -> None:
    """A device with nothing else to do works ahead; a busy one keeps to what is needed soon."""
    held = [hold_seconds(6.0, count) for count in (0, 1, FEW, 2 * FEW, 200)]

    assert [6.0, 6.0, 6.0, 3.0, LEAST_HOLD_SECONDS] == held


@given(st.floats(0.1, 60.0), st.integers(0, 1_000))
def test_nobody_leads_for_more_than_it_may_have(ahead_seconds: float, count: int) -> None:
    """A client that wants little ahead gets no more, and one more session never makes stocks larger."""
    held = hold_seconds(ahead_seconds, count)

    assert min(ahead_seconds, LEAST_HOLD_SECONDS) <= held <= ahead_seconds
    assert hold_seconds(ahead_seconds, count + 1) <= held
