"""What lanes measure of each other: who works, and since when nobody does."""

import math

from tests.fakes.device_figures import ENGLISH
from tests.fakes.manual_clock import ManualClock
from tts_service.measured_costs import Measured, MeasuredCosts
from tts_service.scheduling.costs import CLIPPED, Costs, expected
from tts_service.scheduling.utilisation import Part
from tts_service.scheduling.work import Work
from tts_service.speech.speech_model import Lane


def test_lane_rests_since_the_end_of_its_last_work() -> None:
    """For ever before its first, not while it works, and anew after each piece: between two, hardly."""
    clock = ManualClock()
    costs = MeasuredCosts(ENGLISH, clock)
    rested = [costs.rested_seconds(Lane.TOKENS)]
    with costs.working(Lane.TOKENS):
        clock.advance(0.01)
        rested.append(costs.rested_seconds(Lane.TOKENS))
    clock.advance(0.002)
    rested.append(round(costs.rested_seconds(Lane.TOKENS), 6))

    assert [math.inf, 0.0, 0.002] == rested
    assert math.inf == costs.rested_seconds(Lane.SOUND)


def test_work_beside_the_other_lanes_is_known_as_such() -> None:
    """Half of it was, so half of the contention counts."""
    clock = ManualClock()
    costs = MeasuredCosts(ENGLISH, clock)
    with costs.working(Lane.SOUND) as measured:
        clock.advance(0.01)
        with costs.working(Lane.TOKENS):
            clock.advance(0.01)

    assert (0.02, 0.5) == (round(measured.seconds, 6), round(measured.beside, 6))


def test_runs_are_told_beside_what_they_take_by_the_figures() -> None:
    """Each with its own size and the contention that it met; the figures stay, whatever is learned."""
    told = list[tuple[Part, float, float]]()
    costs = MeasuredCosts(ENGLISH, on_run=lambda *run: told.append(run))
    burst = 8 * expected(Costs(figures=ENGLISH), Work.TOKEN, 4, beside=0.5)
    sound = expected(Costs(figures=ENGLISH), Work.SOUND, 2)
    for _ in range(50):
        costs.note([(Work.TOKEN, 4, 8.0)], Measured(seconds=1.5 * burst, beside=0.5))
    costs.note([(Work.SOUND, 2, 1.0)], Measured(seconds=sound, beside=1.0))

    assert (Part.TOKENS, round(1.5 * burst, 9), round(burst, 9)) == (told[-2][0], *(round(x, 9) for x in told[-2][1:]))
    assert (Part.SOUND, round(sound, 9), round(sound, 9)) == (told[-1][0], *(round(x, 9) for x in told[-1][1:]))


def test_an_odd_run_is_told_as_a_long_one() -> None:
    """What loads a kernel, or waits for a stopped thread, takes a hundred times as long, once: it is no cost."""
    told = list[tuple[Part, float, float]]()
    costs = MeasuredCosts(ENGLISH, on_run=lambda *run: told.append(run))
    prompt = expected(Costs(figures=ENGLISH), Work.PROMPT, beside=0.0)
    costs.note([(Work.PROMPT, 1, 1.0)], Measured(seconds=300.0 * prompt))

    assert [(Part.TOKENS, round(CLIPPED * prompt, 9), round(prompt, 9))] == [
        (part, round(seconds, 9), round(by_figures, 9)) for part, seconds, by_figures in told
    ]
