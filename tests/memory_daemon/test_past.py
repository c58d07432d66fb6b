"""What the daemon remembers to show."""

from dataclasses import replace

from memory_daemon.past import PAST_SECONDS, Past, follow, since
from memory_daemon.types import HOST, Decided, DeviceId, MemorySample, ModuleName, SampleFailed, ServiceName
from tests.fakes.memory_views import SPEECH

VOICE, DETECTOR = ModuleName("voice"), ModuleName("detector")
DECIDED = Decided(unix_seconds=1.0, service=SPEECH, version=1, reason="first", evict=(VOICE,))


def sample(seconds: float, device: DeviceId = HOST) -> MemorySample:
    """Return a reading."""
    return MemorySample(device=device, seconds=seconds, unix_seconds=seconds, total_bytes=10, free_bytes=5)


def test_samples_are_kept_a_second_apart_for_each_device() -> None:
    """A daemon that reads ten times a second remembers one of them, and of two devices both."""
    past = Past()
    for tick in range(40):
        past = follow(past, (sample(tick / 10), sample(tick / 10, DeviceId("GPU-1"))), (), ())

    assert 8 == len(past.samples)
    assert [0.0, 1.0, 2.0, 3.0] == [one.seconds for one in past.samples if one.device == HOST]


def test_samples_are_bounded_in_time() -> None:
    """However long the daemon runs, it remembers a quarter of an hour."""
    past = Past()
    for second in range(2000):
        past = follow(past, (sample(second),), (), ())

    assert (PAST_SECONDS + 1, 61) == (len(past.samples), len(since(past, 60.0)))


def test_failed_reading_is_no_sample() -> None:
    """A gap stays a gap."""
    failed = SampleFailed(device=HOST, seconds=1.0, unix_seconds=1.0, reason="gone")

    assert ((), ()) == (follow(Past(), (failed,), (), ()).samples, since(Past(), 60.0))


def test_newest_decision_of_each_module_is_remembered() -> None:
    """A later decision about another module does not hide the one about this."""
    later = replace(DECIDED, version=2, reason="second", evict=(DETECTOR,), restore=())
    past = follow(follow(Past(), (), (DECIDED,), (SPEECH,)), (), (later, DECIDED), (SPEECH,))

    assert {(SPEECH, VOICE): DECIDED, (SPEECH, DETECTOR): later} == past.moved
    assert {SPEECH: later} == past.directed


def test_service_that_is_gone_is_forgotten_with_the_next_decision() -> None:
    """What is remembered is bounded by the services that there are."""
    past = follow(Past(), (), (DECIDED,), (SPEECH,))
    other = replace(DECIDED, service=ServiceName("other"), version=9)

    assert {(ServiceName("other"), VOICE): other} == follow(past, (), (other, DECIDED), (ServiceName("other"),)).moved
