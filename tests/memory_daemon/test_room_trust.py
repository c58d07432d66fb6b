"""Room is trusted for as long as it has lasted, and never for more than was free all the while."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_daemon.room_trust import LOWS_MAXIMUM, Room, called_into, given_up, noted, trusted_bytes

ABSENCE_SECONDS = 5.0


def read(*readings: tuple[float, int | None], room: Room | None = None) -> Room:
    """Return room after readings (time, free bytes)."""
    found = Room() if room is None else room
    for now_seconds, free_bytes in readings:
        found = noted(found, free_bytes, now_seconds)
    return found


def disappointed(times: int) -> Room:
    """Return room that did not last so often in a row."""
    room = Room()
    for number in range(times):
        room = given_up(called_into(room, float(number)))
    return room


@pytest.mark.parametrize(
    ("times", "lasted_seconds", "expected"),
    [
        pytest.param(0, 0.0, 100, id="any room is trusted at first"),
        pytest.param(1, 9.9, 0, id="after one disappointment not yet"),
        pytest.param(1, 10.0, 100, id="after one disappointment"),
        pytest.param(2, 39.9, 0, id="after two not yet"),
        pytest.param(2, 40.0, 100, id="after two"),
        pytest.param(4, 400.0, 100, id="after four"),
        pytest.param(9, 400.0, 100, id="never longer than after four"),
    ],
)
def test_room_that_did_not_last_must_last_longer(times: int, lasted_seconds: float, expected: int) -> None:
    """Each time it must have lasted for three times as long, up to a bound."""
    room = read((1000.0, 100), (1000.0 + lasted_seconds, 100), room=disappointed(times))

    assert expected == trusted_bytes(room, ABSENCE_SECONDS, 1000.0 + lasted_seconds)


def test_least_that_was_free_meanwhile_is_what_counts() -> None:
    """A dip within the time that is looked at bounds what is trusted; one before it does not."""
    readings = [(1000.0, 500), (1003.0, 200), (1006.0, 400), (1010.0, 500)]
    room = read(*readings, room=disappointed(1))
    later = read((1014.0, 500), room=room)

    assert (200, 400) == (trusted_bytes(room, ABSENCE_SECONDS, 1010.0), trusted_bytes(later, ABSENCE_SECONDS, 1014.0))


def test_reading_that_failed_begins_anew() -> None:
    """What lies before a gap says nothing about how long room has lasted."""
    room = read((1000.0, 100), (1005.0, None), (1006.0, 100), (1011.0, 100), room=disappointed(1))

    assert (0, 1) == (trusted_bytes(room, ABSENCE_SECONDS, 1011.0), room.disappointments)


def test_module_that_could_stay_restores_the_trust() -> None:
    """A minute after a call without a give-back, room is room again."""
    room = called_into(read((1000.0, 100), room=disappointed(3)), 1000.0)
    before, after = read((1059.0, 100), room=room), read((1060.0, 100), room=room)

    assert (3, 0) == (before.disappointments, after.disappointments)


def test_give_back_without_a_call_before_disappoints_nobody() -> None:
    """Modules that were home all the time say nothing about room."""
    room = given_up(given_up(called_into(Room(), 1.0)))

    assert 1 == room.disappointments


@settings(deadline=None, max_examples=100)
@given(
    steps=st.lists(
        st.tuples(st.floats(min_value=0.05, max_value=3.0), st.integers(min_value=0, max_value=1000)),
        min_size=1,
        max_size=80,
    ),
    times=st.integers(min_value=0, max_value=4),
)
def test_trusted_room_is_never_more_than_was_free_all_the_while(steps: list[tuple[float, int]], times: int) -> None:
    """However readings are merged to stay few, no dip within the time that is looked at is forgotten."""
    room, now_seconds, readings = disappointed(times), 1000.0, []
    for elapsed_seconds, free_bytes in steps:
        now_seconds += elapsed_seconds
        readings.append((now_seconds, free_bytes))
        room = noted(room, free_bytes, now_seconds)
    span_seconds = ABSENCE_SECONDS * (3**times - 1)
    lowest_bytes = min(free_bytes for seconds, free_bytes in readings if seconds >= now_seconds - span_seconds)

    assert len(room.lows) <= LOWS_MAXIMUM
    assert trusted_bytes(room, ABSENCE_SECONDS, now_seconds) <= lowest_bytes
