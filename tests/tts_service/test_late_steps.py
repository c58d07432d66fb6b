"""What several sessions need is prepared once they meet again and again; one that fails ends it."""

from tts_service.errors import Reason, ServiceError
from tts_service.late_counts import LateCounts
from tts_service.late_steps import EVERY_SECONDS, MEETINGS, STEP_SECONDS, WITHIN_SECONDS, LateSteps
from tts_service.speech.speech_model import Lane, PrepareStep


def late(count: int) -> LateSteps:
    """Return so many steps that wait."""
    steps = LateSteps()
    steps.add(
        [
            PrepareStep(name=f"step {n}", lane=Lane.SOUND, modules=frozenset(), run=lambda _: None, late=True)
            for n in range(count)
        ]
    )
    return steps


def wanted(count: int) -> LateSteps:
    """Return so many steps that are wanted."""
    steps = late(count)
    for number in range(MEETINGS):
        steps.met(float(number))
    return steps


def test_steps_are_wanted_after_some_meetings_in_a_short_time() -> None:
    """Not before; and then they stay wanted."""
    steps = late(2)
    before = list[bool]()
    for number in range(MEETINGS):
        before.append(steps.next is None)
        steps.met(number * WITHIN_SECONDS / MEETINGS)

    assert [True] * MEETINGS == before
    assert steps.next is not None
    assert "step 0" == steps.next.name


def test_meetings_that_are_far_apart_do_not_add_up() -> None:
    """Two sessions that meet once a while are as well off one after the other."""
    steps = late(2)
    for number in range(50):
        steps.met(number * WITHIN_SECONDS)

    assert steps.next is None


def test_steps_are_taken_in_order_and_the_longest_is_expected_again() -> None:
    """A first one that held the lane for long makes the next one wait for a longer pause."""
    steps = wanted(3)
    steps.looked(10.0)
    steps.taken(STEP_SECONDS / 2)
    usual = steps.expected_seconds
    steps.taken(STEP_SECONDS * 2)

    assert (STEP_SECONDS, STEP_SECONDS * 2) == (usual, steps.expected_seconds)
    assert 10.0 + EVERY_SECONDS == steps.look_at
    assert LateCounts(waiting=1, taken=2) == steps.counts
    assert steps.next is not None
    assert "step 2" == steps.next.name


def test_step_that_fails_ends_all_of_them() -> None:
    """For good: no meeting brings them back."""
    steps = wanted(3)
    steps.taken(0.1)
    steps.failed(ServiceError(Reason.DEVICE_MEMORY, "none"))
    for number in range(2 * MEETINGS):
        steps.met(20.0 + number / MEETINGS)

    assert steps.next is None
    assert LateCounts(taken=1, failed=2) == steps.counts
