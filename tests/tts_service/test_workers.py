"""Threads that run steps: in order, one lane's beside another's, and none for what nobody waits for any more."""

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from tts_service.speech.speech_model import Lane
from tts_service.workers import Workers

PATIENCE_SECONDS = 10.0


class Held:
    """Work that goes on until it is let go."""

    def __init__(self) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> str:
        """Work."""
        self.began.set()
        assert self.go_on.wait(PATIENCE_SECONDS)
        return "done"

    def __repr__(self) -> str:
        return f"<Held {'begun' if self.began.is_set() else 'waits'}>"


def test_lane_with_a_thread_of_its_own_takes_work_in_order() -> None:
    """One at a time, first come first served."""
    workers, order = Workers({lane: ThreadPoolExecutor(1) for lane in Lane}), list[int]()
    futures = [workers.submit(Lane.TOKENS, lambda number=number: order.append(number)) for number in range(20)]
    for each in futures:
        each.result(PATIENCE_SECONDS)
    workers.close()

    assert list(range(20)) == order


def test_lanes_with_threads_of_their_own_do_not_wait_for_each_other() -> None:
    """What one is busy with is no wait for the other."""
    workers, held = Workers({lane: ThreadPoolExecutor(1) for lane in Lane}), Held()
    tokens = workers.submit(Lane.TOKENS, held)
    assert held.began.wait(PATIENCE_SECONDS)
    queued = workers.submit(Lane.TOKENS, lambda: None)
    sound = workers.submit(Lane.SOUND, lambda: "sound").result(PATIENCE_SECONDS)
    wanted = workers.wanted(Lane.TOKENS), workers.wanted(Lane.SOUND)
    held.go_on.set()
    done = tokens.result(PATIENCE_SECONDS), queued.result(PATIENCE_SECONDS)
    workers.close()

    assert ("sound", (True, False), ("done", None)) == (sound, wanted, done)


def test_shared_threads_are_wanted_by_every_lane() -> None:
    """Who waits for one waits for all; what is under way does not count."""
    workers, held = Workers.shared(1), Held()
    workers.submit(Lane.TOKENS, held)
    assert held.began.wait(PATIENCE_SECONDS)
    before = workers.wanted(Lane.TOKENS), workers.wanted(Lane.SOUND)
    queued = workers.submit(Lane.SOUND, lambda: None)
    while_waiting = workers.wanted(Lane.TOKENS), workers.wanted(Lane.SOUND)
    held.go_on.set()
    queued.result(PATIENCE_SECONDS)
    workers.close()

    assert ((False, False), (True, True)) == (before, while_waiting)
    assert not workers.wanted(Lane.TOKENS)


def test_work_that_is_cancelled_while_it_waits_is_not_waited_for() -> None:
    """Otherwise a lane would give its thread up for nobody, for ever."""
    workers, held, ran = Workers.shared(1), Held(), list[bool]()
    workers.submit(Lane.TOKENS, held)
    assert held.began.wait(PATIENCE_SECONDS)
    queued = workers.submit(Lane.SOUND, lambda: ran.append(True))
    cancelled, wanted = queued.cancel(), workers.wanted(Lane.TOKENS)
    held.go_on.set()
    workers.close()

    assert (True, False, []) == (cancelled, wanted, ran)


def test_work_that_fails_tells_whoever_asked_and_nobody_else() -> None:
    """The thread goes on."""
    workers = Workers.shared(1)
    failed = workers.submit(Lane.TOKENS, lambda: 1 / 0)
    error = failed.exception(PATIENCE_SECONDS)
    after = workers.submit(Lane.TOKENS, lambda: "works").result(PATIENCE_SECONDS)
    workers.close()

    assert (ZeroDivisionError, "works") == (type(error), after)


def test_workers_that_close_end_what_is_under_way_and_drop_what_waits() -> None:
    """Nobody waits for ever for what will never be done."""
    workers, held = Workers.shared(1), Held()
    under_way = workers.submit(Lane.TOKENS, held)
    assert held.began.wait(PATIENCE_SECONDS)
    queued = workers.submit(Lane.TOKENS, lambda: None)
    closing = threading.Thread(target=workers.close)
    closing.start()
    with pytest.raises(CancelledError):
        queued.result(PATIENCE_SECONDS)
    held.go_on.set()
    closing.join(PATIENCE_SECONDS)

    assert ("done", False) == (under_way.result(0), workers.wanted(Lane.TOKENS))
