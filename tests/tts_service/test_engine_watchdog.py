"""When an engine counts as hanging, and what is done about one that has died."""

import pytest

from tts_service.engine_process.restarts import Deaths, GiveUp, Restart, RestartLimits, died
from tts_service.engine_process.watchdog import LOOK_SECONDS, START_FACTOR, Vigil, begun, came_up, heard, looked

HANG_SECONDS = 10.0
LIMITS = RestartLimits(most_deaths=5, window_seconds=60.0)


def watched(vigil: Vigil, *, until: float) -> tuple[Vigil, str | None]:
    """Look as often as is due, up to a time or until it hangs."""
    now, why = vigil.looked_at, None
    while why is None and now < until:
        now += LOOK_SECONDS
        vigil, why = looked(vigil, HANG_SECONDS, now)
    return vigil, why


def test_engine_that_says_nothing_hangs_after_its_time() -> None:
    """Silence is counted from the last word."""
    vigil = heard(came_up(begun(0.0)), None, 3.0)
    vigil, early = watched(vigil, until=3.0 + HANG_SECONDS)
    _, late = watched(vigil, until=4.0 + HANG_SECONDS)

    assert early is None
    assert "it has said nothing for 10.5 s" == late


def test_engine_that_comes_up_is_given_more_time() -> None:
    """Loading holds everything up; but not for ever."""
    vigil, early = watched(begun(0.0), until=START_FACTOR * HANG_SECONDS)
    _, late = watched(vigil, until=START_FACTOR * HANG_SECONDS + 1.0)

    assert early is None
    assert late is not None


def test_step_that_does_not_end_hangs_though_the_loop_turns() -> None:
    """It counts by what the engine says of it; before the engine speaks, steps capture graphs and may take long."""
    loading = heard(begun(0.0), 60.0, 1.0)
    speaking = came_up(loading)

    assert looked(loading, HANG_SECONDS, 1.0)[1] is None
    assert "one step has taken 60.0 s" == looked(speaking, HANG_SECONDS, 1.0)[1]
    assert looked(heard(speaking, 9.0, 1.0), HANG_SECONDS, 1.0)[1] is None
    assert looked(heard(speaking, None, 1.0), HANG_SECONDS, 1.0)[1] is None


def test_who_was_held_up_itself_does_not_blame_the_engine() -> None:
    """After a minute in which nobody looked, the engine's words wait unread: its silence counts from now."""
    vigil = heard(came_up(begun(0.0)), None, 0.0)
    vigil, at_once = looked(vigil, HANG_SECONDS, 60.0)
    _, later = watched(vigil, until=61.0 + HANG_SECONDS)

    assert at_once is None
    assert later is not None


def test_first_death_is_answered_at_once_and_further_ones_with_patience() -> None:
    """The wait doubles with each death within the window, and then it is given up."""
    deaths, steps = Deaths(), []
    for now in range(5):
        deaths, step = died(deaths, LIMITS, float(now))
        steps.append(step)

    assert [Restart(wait_seconds=each) for each in (0.0, 0.5, 1.0, 2.0)] == steps[:4]
    assert GiveUp(deaths=5) == steps[4]


def test_deaths_long_ago_do_not_count() -> None:
    """One a minute goes on for ever, each answered at once."""
    deaths = Deaths()
    for now in range(0, 6_000, 60):
        deaths, step = died(deaths, LIMITS, float(now))
        assert Restart(wait_seconds=0.0) == step


@pytest.mark.parametrize("most", [1, 2])
def test_limit_of_deaths_is_kept(most: int) -> None:
    """With one, the first is the last."""
    deaths, limits = Deaths(), RestartLimits(most_deaths=most, window_seconds=60.0)
    for _ in range(most - 1):
        deaths, step = died(deaths, limits, 0.0)
        assert isinstance(step, Restart)

    assert GiveUp(deaths=most) == died(deaths, limits, 0.0)[1]
