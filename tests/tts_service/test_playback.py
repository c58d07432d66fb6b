"""The playback clock that pacing follows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_service.speech.playback import (
    REPORT_FRESH_SECONDS,
    PlaybackClock,
    advanced,
    ahead_seconds,
    discarded,
    reported,
    room_at,
    sent,
    skipped,
    still_seconds,
)


def test_clock_without_reports_plays_in_real_time() -> None:
    """Audio that has left is played at the speed of time."""
    clock = sent(PlaybackClock(as_of=10.0), 3.0, 10.0)

    assert 1.5 == advanced(clock, 11.5).played_seconds


def test_clock_before_the_first_audio_stands_still() -> None:
    """Time before the first audio does not count as played."""
    clock = sent(PlaybackClock(as_of=0.0), 2.0, 100.0)

    assert 2.0 == ahead_seconds(advanced(clock, 100.0))


def test_clock_that_ran_dry_waits_for_audio_and_says_since_when() -> None:
    """Playback stops at the end of what was sent, and the moment is kept."""
    clock = advanced(sent(PlaybackClock(as_of=0.0), 2.0, 0.0), 5.0)

    assert (2.0, 2.0) == (clock.played_seconds, clock.dry_since)


def test_clock_with_a_fresh_report_follows_the_client() -> None:
    """A paused client holds the clock for as long as it reports."""
    clock = reported(sent(PlaybackClock(as_of=0.0), 4.0, 0.0), 0.5, 1.0)

    assert 0.5 == advanced(clock, 1.0 + REPORT_FRESH_SECONDS).played_seconds


def test_clock_with_a_stale_report_goes_on_from_it() -> None:
    """Once the last report is old, playback is taken to have gone on since."""
    clock = reported(sent(PlaybackClock(as_of=0.0), 9.0, 0.0), 0.5, 1.0)

    assert 3.5 == advanced(clock, 4.0).played_seconds


def test_clock_a_report_that_goes_back_is_ignored() -> None:
    """Playback never goes back after a first report."""
    clock = reported(reported(sent(PlaybackClock(as_of=0.0), 9.0, 0.0), 3.0, 1.0), 2.0, 1.5)

    assert 3.0 == clock.played_seconds


def test_clock_a_fresh_report_after_a_stale_one_is_believed() -> None:
    """What the model made of the silence between two reports does not bound the second."""
    clock = reported(sent(PlaybackClock(as_of=0.0), 9.0, 0.0), 1.0, 1.0)
    clock = reported(advanced(clock, 5.0), 1.2, 5.0)

    assert 1.2 == clock.played_seconds


def test_clock_of_a_player_that_reports_knows_when_it_ran_dry() -> None:
    """Between two reports it has played what was there, and stands still since then."""
    clock = reported(reported(sent(PlaybackClock(as_of=0.0), 2.0, 0.0), 0.5, 0.5), 1.0, 1.0)

    assert (None, 2.0) == (advanced(clock, 1.9).dry_since, advanced(clock, 2.3).dry_since)


def test_clock_of_a_paused_player_does_not_run_dry() -> None:
    """Who repeats a report has paused: however long, nothing is missing."""
    clock = reported(reported(sent(PlaybackClock(as_of=0.0), 2.0, 0.0), 1.0, 1.0), 1.0, 1.5)

    assert advanced(clock, 1.5 + REPORT_FRESH_SECONDS).dry_since is None


@pytest.mark.parametrize(
    ("reports", "now", "still"),
    [
        pytest.param(((1.0, 1.0),), 3.0, 0.0, id="one report says nothing of a pause"),
        pytest.param(((1.0, 1.0), (1.0, 2.0)), 2.5, 1.5, id="since the first of two that are the same"),
        pytest.param(((1.0, 1.0), (1.0, 2.0), (1.0, 3.0)), 3.0, 2.0, id="and on"),
        pytest.param(((1.0, 1.0), (1.0, 2.0)), 4.1, 0.0, id="until reports stay away"),
        pytest.param(((1.0, 1.0), (1.0, 2.0), (1.1, 2.2)), 2.3, 0.0, id="until it plays on"),
        pytest.param(((4.0, 4.0), (4.0, 5.0)), 5.5, 0.0, id="who has heard all waits for more"),
    ],
)
def test_clock_tells_how_long_its_player_stands_still(
    reports: tuple[tuple[float, float], ...], now: float, still: float
) -> None:
    """By the client's word alone, and only with something left to play."""
    clock = sent(PlaybackClock(as_of=0.0), 4.0, 0.0)
    for played, at in reports:
        clock = reported(advanced(clock, at), played, at)

    assert pytest.approx(still) == still_seconds(clock, now)


def test_clock_after_an_interruption_stands_still_no_more() -> None:
    """What was to be played is gone, and the pause with it."""
    clock = reported(reported(sent(PlaybackClock(as_of=0.0), 4.0, 0.0), 1.0, 1.0), 1.0, 2.0)
    clock = sent(discarded(clock, 2.1), 4.0, 2.2)

    assert 0.0 == still_seconds(clock, 2.3)


def test_clock_of_a_player_that_ran_dry_goes_on_with_what_comes() -> None:
    """The gap is not played: audio that came 0.5 s late is over 0.5 s later."""
    clock = reported(reported(sent(PlaybackClock(as_of=0.0), 2.0, 0.0), 0.5, 0.5), 1.0, 1.0)
    clock = sent(advanced(clock, 2.5), 1.0, 2.5)

    assert (None, 3.5) == (advanced(clock, 3.4).dry_since, advanced(clock, 3.6).dry_since)


def test_clock_takes_the_report_of_a_player_that_lags() -> None:
    """What the model made of the time between two reports gives way to the second."""
    clock = reported(reported(sent(PlaybackClock(as_of=0.0), 2.0, 0.0), 0.5, 0.5), 1.0, 1.0)
    clock = reported(advanced(clock, 2.2), 1.6, 2.2)

    assert (1.6, None) == (clock.played_seconds, clock.dry_since)


def test_clock_skipping_leaves_what_comes_later() -> None:
    """Dropping the rest of an earlier utterance moves playback to the later one's start, no further."""
    clock = skipped(sent(PlaybackClock(as_of=0.0), 9.0, 0.0), 4.0, 1.0)

    assert (4.0, 5.0) == (clock.played_seconds, ahead_seconds(clock))


def test_clock_a_report_beyond_what_was_sent_is_bounded() -> None:
    """A client cannot have played what has not left."""
    clock = reported(sent(PlaybackClock(as_of=0.0), 2.0, 0.0), 99.0, 1.0)

    assert 2.0 == clock.played_seconds


def test_clock_after_an_interruption_has_nothing_ahead() -> None:
    """What the client dropped does not hold back what follows."""
    clock = discarded(sent(PlaybackClock(as_of=0.0), 4.0, 0.0), 1.0)

    assert (0.0, 1.0) == (ahead_seconds(clock), clock.sent_seconds)


def test_room_at_without_reports_is_when_playback_has_made_room() -> None:
    """The next piece may leave as soon as the lead has shrunk by its length."""
    clock = sent(PlaybackClock(as_of=0.0), 4.0, 0.0)

    assert math.isclose(0.1, room_at(clock, ahead_limit_seconds=4.0, next_seconds=0.1, now=0.0))


def test_room_at_with_a_fresh_report_waits_for_it_to_grow_stale() -> None:
    """A client that reports is not outrun while its word is fresh."""
    clock = reported(sent(PlaybackClock(as_of=0.0), 4.0, 0.0), 0.0, 1.0)

    assert 1.0 + REPORT_FRESH_SECONDS == room_at(clock, ahead_limit_seconds=4.0, next_seconds=0.1, now=1.0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sent", "reported", "discarded", "advanced"]),
            st.floats(0, 10, allow_nan=False),
            st.floats(0, 5, allow_nan=False),
        ),
        max_size=40,
    )
)
def test_clock_whatever_happens_played_stays_between_nothing_and_sent(steps: list[tuple[str, float, float]]) -> None:
    """The invariant of the clock holds under any sequence of events."""
    now, clock = 0.0, PlaybackClock()
    for kind, amount, elapsed in steps:
        now += elapsed
        match kind:
            case "sent":
                clock = sent(clock, amount, now)
            case "reported":
                clock = reported(clock, amount, now)
            case "discarded":
                clock = discarded(clock, now)
            case _:
                clock = advanced(clock, now)

        assert 0.0 <= clock.played_seconds <= clock.sent_seconds + 1e-9
