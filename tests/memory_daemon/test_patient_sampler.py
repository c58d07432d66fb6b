"""Readings in a thread of their own: a driver that hangs delays nobody, and what it brings late is not believed."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from memory_daemon.gpu_memory import GpuEvent, ProcessUse
from memory_daemon.patient_sampler import PatientSampler
from memory_daemon.types import HOST, DeviceId, Fault, MemorySample, Sample, SampleFailed
from tests.fakes.manual_clock import ManualClock

GPU = DeviceId("GPU-0")
WAIT_SECONDS = 10.0
XID = GpuEvent(device=GPU, kind="xid", number=79)


@dataclass
class Driver:
    """A sampler whose calls hang while told so; every reading has a number of its own."""

    answers: threading.Event = field(default_factory=threading.Event)
    readings: int = 0
    closed: int = 0

    def _wait(self) -> None:
        assert self.answers.wait(WAIT_SECONDS)

    def gpus(self) -> tuple[DeviceId, ...] | SampleFailed:
        """List the one GPU."""
        self._wait()
        return (GPU,)

    def sample(self, device: DeviceId) -> Sample:
        """Return a reading with as many free bytes as there were readings; the kernel's never hangs."""
        if device != HOST:
            self._wait()
        self.readings += 1
        return MemorySample(device=device, seconds=1.0, unix_seconds=2.0, total_bytes=100, free_bytes=self.readings)

    def processes(self, device: DeviceId) -> tuple[ProcessUse, ...]:
        """Return one process."""
        assert device == GPU
        self._wait()
        return (ProcessUse(process=1, used_bytes=2),)

    def events(self) -> tuple[GpuEvent, ...]:
        """Return one event."""
        self._wait()
        return (XID,)

    def close(self) -> None:
        """Count."""
        self.closed += 1


@pytest.fixture
def driver() -> Driver:
    """Return a driver that answers."""
    made = Driver()
    made.answers.set()
    return made


@pytest.fixture
def sampler(driver: Driver) -> Iterator[PatientSampler]:
    """Return a sampler of little patience; the driver answers in the end, so that no thread stays."""
    clock = ManualClock(7.0)
    made = PatientSampler(
        sampler=driver, clock=clock, unix_clock=clock, patience_seconds=0.05, start_patience_seconds=0.05
    )
    made.start()
    yield made
    driver.answers.set()
    made.close()


def settle(sampler: PatientSampler) -> None:
    """Wait until no call is out any more."""
    moment = threading.Event()
    for _ in range(1000):
        if not sampler.hangs:
            return
        moment.wait(0.01)


def free_bytes(sample: Sample) -> int:
    """Return what a reading says; it must be one."""
    assert isinstance(sample, MemorySample)
    return sample.free_bytes


def test_driver_that_answers_is_read(driver: Driver, sampler: PatientSampler) -> None:
    """Devices, memory and processes are told as they are."""
    assert ((GPU,), 1, (ProcessUse(process=1, used_bytes=2),)) == (
        sampler.gpus(),
        free_bytes(sampler.sample(GPU)),
        sampler.processes(GPU),
    )
    assert 1 == driver.readings


def test_driver_that_hangs_is_a_failed_reading_of_its_own_kind(driver: Driver, sampler: PatientSampler) -> None:
    """Whoever asks while a call is out hears so: it says since when nothing came, and asks nothing more."""
    driver.answers.clear()
    failed = [sampler.sample(GPU) for _ in range(5)]
    expected = SampleFailed(
        device=GPU,
        seconds=7.0,
        unix_seconds=7.0,
        reason="the driver did not answer within 0.05 s",
        fault=Fault.NO_ANSWER,
    )

    assert [expected] * 5 == failed
    assert ((), "no_answer") == (sampler.processes(GPU), getattr(sampler.gpus(), "fault", Fault.OTHER).value)


def test_host_memory_is_read_while_the_driver_hangs(driver: Driver, sampler: PatientSampler) -> None:
    """A device that hangs keeps nobody from the others."""
    driver.answers.clear()
    sampler.sample(GPU)

    assert 1 == free_bytes(sampler.sample(HOST))


def test_reading_that_comes_late_is_thrown_away(driver: Driver, sampler: PatientSampler) -> None:
    """After a hang the next answer is a reading made after it, not the one that was asked for before."""
    driver.answers.clear()
    sampler.sample(GPU)
    driver.answers.set()
    settle(sampler)

    assert 2 == free_bytes(sampler.sample(GPU))


def test_events_are_told_without_waiting(driver: Driver, sampler: PatientSampler) -> None:
    """What happened is collected behind a reading and told once, also when the driver hung in between."""
    driver.answers.clear()
    sampler.sample(GPU)
    first = [sampler.events() for _ in range(3)]
    driver.answers.set()
    while sampler.hangs:
        time.sleep(0.001)
    sampler.gpus()

    assert [()] * 3 == first
    assert [(XID,), ()] == [sampler.events(), sampler.events()]


def test_reading_is_told_when_the_thread_that_reads_is_done(sampler: PatientSampler) -> None:
    """Who is told a reading is alone awake: what was to be collected is there already."""
    told = [(sampler.sample(GPU), sampler.events())[1] for _ in range(20)]

    assert [(XID,)] * 20 == told


def test_failure_within_reaches_who_asked(
    driver: Driver, sampler: PatientSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of ours is no failed reading, and the thread lives on."""

    def broken(device: DeviceId) -> Sample:
        raise ZeroDivisionError(device)

    monkeypatch.setattr(driver, "sample", broken)
    with pytest.raises(ZeroDivisionError):
        sampler.sample(GPU)

    assert (GPU,) == sampler.gpus()


def test_close_lets_the_library_go_unless_it_hangs(driver: Driver, sampler: PatientSampler) -> None:
    """The end waits for a driver only as long as everything else does."""
    driver.answers.clear()
    sampler.sample(GPU)
    sampler.close()
    hanging = driver.closed
    driver.answers.set()
    settle(sampler)

    assert 0 == hanging
    assert "ready" in repr(sampler)
