"""What queued work took: known when it is done, and counted from when the device came to it."""

from tests.fakes.manual_clock import ManualClock
from tts_service.measured_costs import Measured
from tts_service.queued_work import Parts, QueuedWork
from tts_service.scheduling.work import Work


def test_queued_work_takes_from_the_end_of_what_came_before() -> None:
    """A step took what passed since the one before was done, with what was begun in between, which nobody waits for."""
    clock, noted = ManualClock(), list[tuple[Parts, float]]()

    def note(parts: Parts, measured: Measured) -> None:
        noted.append((parts, round(measured.seconds, 3)))

    queued = QueuedWork(note, clock)
    begin, step = [(Work.ENCODE, 2, 1.0)], [(Work.SOLVE, 2, 1.0)]
    queued.queued(begin, queued.now(), 0.0)
    queued.queued(step, queued.now(), 0.0)
    queued.done_before(Work.SOLVE)
    clock.advance(0.008)
    queued.queued(begin, queued.now(), 0.0)
    queued.queued(step, queued.now(), 0.0)
    queued.done_before(Work.SOLVE)
    clock.advance(0.005)
    queued.queued(step, queued.now(), 0.0)
    queued.done_before(Work.SOLVE)
    clock.advance(0.003)
    queued.done()

    assert [([*begin, *step], 0.008), ([*begin, *step], 0.005), (step, 0.003)] == noted


def test_queued_work_that_nobody_waits_for_is_forgotten() -> None:
    """What is queued after an idle time is not taken for as long as that."""
    clock, noted = ManualClock(), list[float]()
    queued = QueuedWork(lambda _, measured: noted.append(round(measured.seconds, 3)), clock)
    step = [(Work.SOLVE, 2, 1.0)]
    queued.queued(step, queued.now(), 0.0)
    queued.forget()
    clock.advance(60.0)
    queued.queued(step, queued.now(), 0.0)
    clock.advance(0.004)
    queued.done()

    assert [0.004] == noted
