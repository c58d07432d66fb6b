"""Admission of sessions, and the word to all of them when the service drains."""

import pytest

from tests.fakes.manual_clock import ManualClock
from tts_service.api.sessions import Sessions
from tts_service.errors import Reason, ServiceError


class Told:
    """A session that remembers what it was told."""

    def __init__(self, queued: int = 0) -> None:
        self.deadlines: list[float] = []
        self.queued = queued
        self.beginning = False

    def drain(self, deadline: float) -> None:
        """Remember."""
        self.deadlines.append(deadline)


def test_sessions_full_refuses_with_a_time_to_try_again() -> None:
    """The session beyond the limit is AT_CAPACITY; a place given back can be taken again."""
    sessions = Sessions(limit=1, clock=ManualClock())
    with sessions.admitted(), pytest.raises(ServiceError) as raised, sessions.admitted():
        pass
    with sessions.admitted():
        count = sessions.count

    assert (Reason.AT_CAPACITY, 1.0, 1) == (raised.value.reason, raised.value.retry_after_seconds, count)


def test_sessions_draining_tells_the_open_ones_and_refuses_new_ones() -> None:
    """Everyone who is listed hears the deadline; whoever comes later is told to go elsewhere."""
    clock = ManualClock()
    sessions = Sessions(limit=9, clock=clock)
    told, gone = Told(), Told()
    with sessions.listed(gone):
        pass
    with sessions.listed(told):
        sessions.drain(clock() + 5)
        clock.advance(2)
        with pytest.raises(ServiceError) as raised, sessions.admitted():
            pass

    assert ([1_005.0], []) == (told.deadlines, gone.deadlines)
    assert (Reason.DRAINING, 3.0) == (raised.value.reason, raised.value.retry_after_seconds)


async def test_sessions_wait_empty_says_whether_all_left_in_time() -> None:
    """Waiting ends at once when nobody is there, and in vain while somebody stays."""
    sessions = Sessions(limit=9, clock=ManualClock())
    before = await sessions.wait_empty(0.01)
    with sessions.admitted():
        during = await sessions.wait_empty(0.01)

    assert (True, False) == (before, during)


def test_sessions_change_is_told_and_queues_are_added_up() -> None:
    """Whoever reports activity hears every change of the number."""
    heard: list[int] = []
    sessions = Sessions(limit=9, clock=ManualClock(), on_change=heard.append)
    with sessions.admitted(), sessions.listed(Told(queued=2)), sessions.listed(Told(queued=1)):
        queued = sessions.queued

    assert ([1, 0], 3) == (heard, queued)
