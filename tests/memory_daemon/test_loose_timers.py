"""Threads that only wait may be woken late; whoever begins them is not, nor what has a time to keep."""

import ctypes
import threading

import pytest

from memory_daemon import loose_timers as loose
from memory_daemon.loose_timers import EXACT_SECONDS, GET_SLACK, SLACK_SECONDS, TOLD, exact_timers, loose_timers

LOOSE, EXACT = (int(seconds * 1e9) for seconds in (SLACK_SECONDS, EXACT_SECONDS))


def slack() -> int:
    """Return the calling thread's slack, as the kernel tells it."""
    return int(ctypes.CDLL(None).prctl(GET_SLACK, 0, 0, 0, 0)) & TOLD


def in_a_thread(*, takes_back: bool) -> list[int]:
    """Return the slack of a new thread, and of one that it begins."""
    seen: list[int] = []

    def child() -> None:
        if takes_back:
            exact_timers()
        seen.append(slack())
        grandchild = threading.Thread(target=lambda: seen.append(slack()))
        grandchild.start()
        grandchild.join()

    thread = threading.Thread(target=child)
    thread.start()
    thread.join()
    return seen


def test_threads_begun_inside_wait_loosely_and_their_parent_does_not() -> None:
    """What begins the server, or dials a service, keeps the timers that it needs."""
    before = slack()
    with loose_timers():
        inside = in_a_thread(takes_back=False)

    assert ([LOOSE] * 2, before) == (inside, slack())


def test_thread_begun_inside_that_has_a_time_to_keep_takes_its_timers_back() -> None:
    """What gRPC's threads carry out for us waits as long as it says, and so do those that it begins."""
    with loose_timers():
        inside = in_a_thread(takes_back=True)

    assert [EXACT] * 2 == inside


def test_loose_timers_inside_loose_timers_are_loose_until_the_outer_ones_end() -> None:
    """What a thread had before is found again, however much it was."""
    before = slack()
    with loose_timers():
        with loose_timers():
            pass
        between = slack()

    assert (LOOSE, before) == (between, slack())


def test_system_without_slack_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such call, nothing is loosened and nothing fails."""
    before = slack()
    monkeypatch.setattr(loose.ctypes, "CDLL", lambda _: object())
    with loose_timers():
        exact_timers()
    monkeypatch.undo()

    assert before == slack()
