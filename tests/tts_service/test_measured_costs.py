"""What lanes measure of each other: who works, and since when nobody does."""

import math

from tests.fakes.device_figures import ENGLISH
from tests.fakes.manual_clock import ManualClock
from tts_service.measured_costs import MeasuredCosts
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
