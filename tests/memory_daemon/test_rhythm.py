"""When a module is used in a day, and in which week."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_daemon.rhythm import DAY_SECONDS, SLOT_SECONDS, WEEK_DAYS, Rhythm, expected, slot_ends_seconds, turned, used

HOUR = 3600.0
LEAD_SECONDS = 300.0
DAY_BEGINS = 20_000 * DAY_SECONDS


def spoken(*hours: float) -> Rhythm:
    """Return the rhythm of a module that was used at these hours, counted from the beginning of one day."""
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
        pytest.param(24 + 8.45, False, id="when it is nearly over"),
        pytest.param(24 + 8.6, False, id="after it"),
        pytest.param(8.2, False, id="the same day"),
        pytest.param(48 + 8.2, False, id="two days later"),
        pytest.param(7 * 24 + 8.2, True, id="a week later"),
        pytest.param(8 * 24 + 8.2, False, id="more than a week later"),
    ],
)
def test_module_is_expected_at_the_time_of_day_it_was_used(hour: float, *, is_expected: bool) -> None:
    """What was used at eight is expected at eight on the next day and a week later, and minutes before."""
    assert is_expected == expected(spoken(8.1), DAY_BEGINS + hour * HOUR, LEAD_SECONDS)


def test_module_used_right_after_midnight_is_expected_before_it() -> None:
    """The lead reaches over the end of a day."""
    assert expected(spoken(0.1), DAY_BEGINS + 23.95 * HOUR, LEAD_SECONDS)


def test_use_that_is_told_after_midnight_counts_for_the_day_before() -> None:
    """A report that comes late does not move a use to another day."""
    rhythm = used(turned(spoken(8.1), DAY_BEGINS + 24.01 * HOUR), DAY_BEGINS + 23.9 * HOUR)

    assert expected(rhythm, DAY_BEGINS + 47.8 * HOUR, LEAD_SECONDS)


def test_clock_that_is_set_back_by_days_begins_anew() -> None:
    """What was learned while the clock was wrong is forgotten, and learning goes on."""
    rhythm = turned(spoken(30 * 24 + 8.1), DAY_BEGINS)
    learned = used(rhythm, DAY_BEGINS + 9.1 * HOUR)

    assert Rhythm(day=20_000) == rhythm
    assert expected(learned, DAY_BEGINS + 33.1 * HOUR, LEAD_SECONDS)


def test_clock_that_is_set_back_over_midnight_forgets_nothing() -> None:
    """A correction by seconds is no reason to forget a week."""
    rhythm = spoken(8.1, 24.0)

    assert rhythm == turned(rhythm, DAY_BEGINS + 23.99 * HOUR)


@settings(deadline=None, max_examples=200)
@given(hours=st.lists(st.floats(min_value=0, max_value=24 * 20), max_size=30))
def test_rhythm_of_any_uses_remembers_a_week_and_counts_a_use_once(hours: list[float]) -> None:
    """Whatever is used when, a rhythm has eight days of 48 slots at most, and the same use again changes nothing."""
    ordered = sorted(hours)
    rhythm = spoken(*ordered)
    again = rhythm if not ordered else used(rhythm, DAY_BEGINS + ordered[-1] * HOUR)

    assert rhythm == again
    assert len(rhythm.days) <= WEEK_DAYS + 1
    assert all(0 <= slots < 1 << 48 for slots in rhythm.days)


@settings(deadline=None, max_examples=200)
@given(seconds=st.floats(min_value=0, max_value=1e9), lead=st.floats(min_value=0, max_value=3600))
def test_slot_that_is_waited_for_ends_within_its_length_and_the_lead(seconds: float, lead: float) -> None:
    """A module that is expected is waited for to the end of its half hour, never less than the lead."""
    ends = slot_ends_seconds(seconds, lead)

    assert lead <= ends <= SLOT_SECONDS + lead
