"""Seconds in which at least one of several threads worked."""

from contextlib import ExitStack

import pytest

from tests.fakes.manual_clock import ManualClock
from tts_service.busy_time import BusyTime, all_working


def test_busy_time_counts_work_that_overlaps_once() -> None:
    """Two threads for three seconds, one of them for two more: five."""
    clock = ManualClock()
    busy = BusyTime(clock)
    clock.advance(1.0)
    with busy.working():
        with busy.working():
            clock.advance(3.0)
        clock.advance(2.0)
    clock.advance(4.0)

    assert 5.0 == busy.taken()


def test_busy_time_is_taken_once() -> None:
    """What was taken is not counted again; what goes on counts from there."""
    clock = ManualClock()
    busy = BusyTime(clock)
    with busy.working():
        clock.advance(1.0)
        first = busy.taken()
        clock.advance(2.0)
    second, third = busy.taken(), busy.taken()

    assert (1.0, 2.0, 0.0) == (first, second, third)


def test_busy_time_ends_with_work_that_fails() -> None:
    """An error is the end of the work, not of the count."""
    clock = ManualClock()
    busy = BusyTime(clock)

    def failing() -> None:
        with busy.working():
            clock.advance(1.0)
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        failing()
    clock.advance(5.0)

    assert (1.0, "<BusyTime 0.000 s | 0 work>") == (busy.taken(), repr(busy))


def test_busy_time_does_not_care_who_ends_first() -> None:
    """Work that began first may end last, or first."""
    clock = ManualClock()
    busy = BusyTime(clock)
    first, second = ExitStack(), ExitStack()
    first.enter_context(busy.working())
    clock.advance(1.0)
    second.enter_context(busy.working())
    clock.advance(1.0)
    first.close()
    clock.advance(1.0)
    second.close()
    clock.advance(1.0)

    assert 3.0 == busy.taken()


def test_several_that_work_at_once_end_at_once() -> None:
    """Also where their work fails."""
    clock = ManualClock()
    times = [BusyTime(clock) for _ in range(3)]

    def failing() -> None:
        with all_working(times):
            clock.advance(2.0)
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        failing()
    clock.advance(1.0)

    assert [2.0] * 3 == [each.taken() for each in times]
