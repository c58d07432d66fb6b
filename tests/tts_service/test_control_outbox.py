"""What a control stream says next, and when; waiting is tested with threads, timing with a manual clock."""

import threading

import pytest

from tests.fakes.manual_clock import ManualClock
from tts_service.api.control_outbox import ControlOutbox, Due, End, Pace
from tts_service.errors import CallerError, Reason

GOVERNOR = Pace(minimum_seconds=0.05, period_seconds=1.0)
WATCHER = Pace(minimum_seconds=0.1)
SUPERSEDED = CallerError(Reason.SUPERSEDED, "words")


def opened(clock: ManualClock, pace: Pace = GOVERNOR, reply_limit: int = 3) -> ControlOutbox[str]:
    """Return an outbox whose first word has been taken."""
    outbox: ControlOutbox[str] = ControlOutbox(clock=clock, pace=pace, reply_limit=reply_limit)
    outbox.open("welcome")
    assert outbox.take() == "welcome"
    return outbox


@pytest.mark.parametrize(
    ("pace", "changed", "due_seconds"),
    [(GOVERNOR, True, 10.05), (GOVERNOR, False, 11.0), (WATCHER, True, 10.1), (WATCHER, False, None)],
)
def test_report_is_due_by_pace(pace: Pace, changed: bool, due_seconds: float | None) -> None:  # noqa: FBT001 - a case.
    """A change may be told after the shortest time, and without one the period decides, if there is one."""
    assert due_seconds == pace.due_seconds(10.0, changed=changed)


def test_replies_leave_in_order_before_a_report() -> None:
    """Answers come first, and the report after them."""
    clock = ManualClock()
    outbox = opened(clock)
    outbox.note_change()
    outbox.reply("one")
    outbox.reply("two")
    clock.advance(0.5)

    assert ["one", "two", Due.REPORT] == [outbox.take() for _ in range(3)]


def test_overdue_report_passes_replies() -> None:
    """A flood of answers cannot keep the regular report back."""
    clock = ManualClock()
    outbox = opened(clock)
    outbox.reply("one")
    clock.advance(1.0)

    assert [Due.REPORT, "one"] == [outbox.take() for _ in range(2)]


def test_many_changes_are_one_report() -> None:
    """Of changes only the fact remains."""
    clock = ManualClock()
    outbox = opened(clock, WATCHER)
    for _ in range(1_000):
        outbox.note_change()
    clock.advance(0.2)
    first = outbox.take()
    clock.advance(60.0)
    outbox.close()

    assert [Due.REPORT, End()] == [first, outbox.take()]


def test_nothing_is_reported_before_the_first_word() -> None:
    """Changes before the welcome wait for it."""
    clock = ManualClock()
    outbox: ControlOutbox[str] = ControlOutbox(clock=clock, pace=GOVERNOR, reply_limit=3)
    outbox.note_change()
    clock.advance(60.0)
    outbox.open("welcome")
    clock.advance(0.05)

    assert ["welcome", Due.REPORT] == [outbox.take() for _ in range(2)]


def test_end_comes_after_the_replies_that_wait() -> None:
    """What was answered is still said, then how it ended, again and again."""
    outbox = opened(ManualClock())
    outbox.reply("last")
    outbox.close(SUPERSEDED)

    assert ["last", End(error=SUPERSEDED), End(error=SUPERSEDED)] == [outbox.take() for _ in range(3)]


def test_first_end_counts() -> None:
    """How a stream ended does not change afterwards."""
    outbox = opened(ManualClock())
    outbox.close(SUPERSEDED)
    outbox.close()

    assert End(error=SUPERSEDED) == outbox.take()


def test_reply_after_the_end_is_refused() -> None:
    """Nobody is left to answer."""
    outbox = opened(ManualClock())
    outbox.close()

    assert not outbox.reply("late")


def test_full_outbox_makes_its_sender_wait() -> None:
    """A sender that nobody reads waits, and goes on when there is room."""
    outbox = opened(ManualClock(), reply_limit=1)
    outbox.reply("one")
    waiting = threading.Thread(target=outbox.reply, args=("two",))
    waiting.start()
    waiting.join(0.05)
    held_up = waiting.is_alive()
    taken = [outbox.take(), outbox.take()]
    waiting.join()

    assert (True, ["one", "two"]) == (held_up, taken)


def test_sender_that_waits_is_let_go_at_the_end() -> None:
    """A client that vanishes does not leave a thread behind."""
    outbox = opened(ManualClock(), reply_limit=1)
    outbox.reply("one")
    accepted: list[bool] = []
    waiting = threading.Thread(target=lambda: accepted.append(outbox.reply("two")))
    waiting.start()
    outbox.close()
    waiting.join()

    assert [False] == accepted


@pytest.mark.parametrize("end", [True, False])
def test_wait_for_the_first_word_ends_with_it_or_with_the_stream(end: bool) -> None:  # noqa: FBT001 - a case.
    """Whoever waits for a hello learns that it came, or that it never will."""
    outbox: ControlOutbox[str] = ControlOutbox(clock=ManualClock(), pace=GOVERNOR, reply_limit=3)
    came: list[bool] = []
    waiting = threading.Thread(target=lambda: came.append(outbox.wait_opened(60.0)))
    waiting.start()
    if end:
        outbox.close()
    else:
        outbox.open("welcome")
    waiting.join()

    assert [True] == came


def test_wait_for_a_first_word_that_never_comes_is_over_in_time() -> None:
    """Silence is noticed."""
    outbox: ControlOutbox[str] = ControlOutbox(clock=ManualClock(), pace=GOVERNOR, reply_limit=3)

    assert not outbox.wait_opened(0.01)
