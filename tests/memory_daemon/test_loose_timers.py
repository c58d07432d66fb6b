"""Threads that only wait may be woken late; whoever begins them is not."""

import ctypes
import threading

import pytest

from memory_daemon import loose_timers as loose
from memory_daemon.loose_timers import GET_SLACK, SLACK_SECONDS, loose_timers, loosen_timers

SLACK_NANOSECONDS = int(SLACK_SECONDS * 1e9)


def slack() -> int:
    """Return the calling thread's slack, as the kernel tells it."""
    return int(ctypes.CDLL(None).prctl(GET_SLACK, 0, 0, 0, 0))


def in_a_thread(*, loosened: bool) -> list[int]:
    """Return the slack of a new thread, and of one that it begins."""
    seen: list[int] = []

    def child() -> None:
        if loosened:
            loosen_timers()
        seen.append(slack())
        grandchild = threading.Thread(target=lambda: seen.append(slack()))
        grandchild.start()
        grandchild.join()

    thread = threading.Thread(target=child)
    thread.start()
    thread.join()
    return seen


def test_threads_begun_inside_wait_loosely_and_their_parent_does_not() -> None:
    """What begins the server keeps the timers that the loop needs."""
    before = slack()
    with loose_timers():
        inside = in_a_thread(loosened=False)

    assert ([SLACK_NANOSECONDS] * 2, before) == (inside, slack())


def test_link_that_loosens_itself_hands_it_to_what_it_begins() -> None:
    """A link's thread begins gRPC's for its service, after the one that began it was done with loose timers."""
    before = slack()

    assert ([SLACK_NANOSECONDS] * 2, before) == (in_a_thread(loosened=True), slack())


def test_system_without_slack_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such call, nothing is loosened and nothing fails."""
    monkeypatch.setattr(loose.ctypes, "CDLL", lambda _: object())
    with loose_timers():
        loosened = loosen_timers()

    assert not loosened
