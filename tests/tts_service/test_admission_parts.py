"""From settings to the bounds of the door and to what measures speech."""

from tts_service.admission_parts import admission_limits, admissions_of, speech_load
from tts_service.api.sessions import Sessions
from tts_service.config import Admission, Limits, ServiceConfig
from tts_service.scheduling.utilisation import Company, Part


def test_client_may_have_all_places_by_default() -> None:
    """Often one back end speaks for all its callers; it then waits its turn instead of hearing that it has enough."""
    limits = admission_limits(ServiceConfig(limits=Limits(sessions=10)))

    assert limits.sessions < limits.client_sessions
    assert limits.reopened < limits.full


def test_admission_by_number_measures_nothing() -> None:
    """The switch leaves the number of places as the only bound: nothing begins too fast, and no machine is too slow."""
    config = ServiceConfig(limits=Limits(sessions=10), admission=Admission(by_cost=False))
    load = speech_load(config, on_gpu=False, models=("voice",))
    sessions = Sessions(limit=10, clock=lambda: 0.0)
    door = admissions_of(config, sessions, load)

    assert admission_limits(config).beginning > 10
    assert "Unmeasured" in repr(door)
    assert "SpeechLoad" in repr(admissions_of(ServiceConfig(), sessions, load))


def test_threads_beyond_the_cores_are_no_capacity() -> None:
    """Sixty-four workers on a few cores speak no faster than as many as there are cores."""
    few, many = (speech_load(ServiceConfig(workers=count), on_gpu=False, models=("voice",)) for count in (1, 64))
    for load in (few, many):
        load.stepped(frozenset(), 1.0)
        load.take(1)

    assert few.known.busy[Part.SOUND] >= many.known.busy[Part.SOUND] > 1.0 / 64 * few.known.busy[Part.SOUND]
    assert 0.0 == few.standing(Company()).load
