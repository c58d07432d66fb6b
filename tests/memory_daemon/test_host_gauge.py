"""Host memory beside a GPU is read from the files that the kernel keeps, and a reading that fails is none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from memory_daemon.admin_messages import host_message
from memory_daemon.host_gauge import HostGauge, stall_of
from memory_daemon.marks import GPU_POLICY, Mark, violations
from memory_daemon.usage import HostReading
from tests.fakes.fake_cgroup import FakeCgroup
from tests.fakes.manual_clock import ManualClock

MEMINFO = "MemTotal: 1000 kB\nMemAvailable: 400 kB\n"
STALL = "some avg10={some} avg60=0.50 avg300=0.10 total=123456\nfull avg10={full} avg60=0.20 avg300=0.05 total=12345\n"


class Machine:
    """Files as the kernel keeps them, and a gauge on them."""

    def __init__(self, folder: Path, cgroup: FakeCgroup | None = None) -> None:
        self.meminfo, self.stall = folder / "meminfo", folder / "memory"
        self.meminfo.write_text(MEMINFO)
        self.clock = ManualClock()
        self.gauge = HostGauge(
            cgroup_root=None if cgroup is None else cgroup.folder,
            clock=self.clock,
            unix_clock=lambda: 5.0,
            meminfo=self.meminfo,
            stall=self.stall,
        )

    def __repr__(self) -> str:
        return f"<Machine {self.gauge!r}>"

    def shares(self) -> tuple[float | None, float | None]:
        """Return the shares of the next reading."""
        self.clock.advance(1.0)
        reading = self.gauge.read()
        assert reading is not None
        return reading.some_percent, reading.full_percent


def test_machine_tells_what_is_free_and_how_long_it_is_waited_for(tmp_path: Path) -> None:
    """Free memory comes from meminfo, the waiting from the machine's pressure file."""
    machine = Machine(tmp_path)
    machine.stall.write_text(STALL.format(some="12.50", full="3.25"))
    reading = machine.gauge.read()
    assert reading is not None

    assert (1000 * 1024, 400 * 1024, 12.5, 3.25, 5.0) == (
        reading.total_bytes,
        reading.free_bytes,
        reading.some_percent,
        reading.full_percent,
        reading.unix_seconds,
    )


def test_cgroup_has_the_word_over_the_machine(tmp_path: Path) -> None:
    """Where a limit binds, what is waited for within it counts; without such a file, the machine's does."""
    cgroup = FakeCgroup(tmp_path / "cgroup", limit_bytes=500_000, used_bytes=100_000)
    machine = Machine(tmp_path, cgroup)
    machine.stall.write_text(STALL.format(some="1.00", full="0.00"))
    before = machine.shares()
    (cgroup.folder / "memory.pressure").write_text(STALL.format(some="50.00", full="40.00"))

    assert ((1.0, 0.0), (50.0, 40.0)) == (before, machine.shares())


@pytest.mark.parametrize("text", [None, "", "some avg10=often\n", "nonsense\n"])
def test_kernel_that_does_not_tell_the_waiting_tells_what_is_free(tmp_path: Path, text: str | None) -> None:
    """Pressure stall information can be switched off; memory is read all the same."""
    machine = Machine(tmp_path)
    if text is not None:
        machine.stall.write_text(text)

    assert (None, None) == machine.shares()


def test_reading_is_kept_for_a_second(tmp_path: Path) -> None:
    """A loop that ticks ten times a second reads the files once."""
    machine = Machine(tmp_path)
    first = machine.gauge.read()
    machine.meminfo.write_text(MEMINFO.replace("400", "100"))
    machine.clock.advance(0.9)
    second = machine.gauge.read()
    machine.clock.advance(0.1)
    third = machine.gauge.read()
    assert third is not None

    assert (first, 100 * 1024) == (second, third.free_bytes)


def test_memory_that_cannot_be_read_is_no_reading_and_said_once(tmp_path: Path) -> None:
    """Nothing follows from what is not known, and the log is not filled with it."""
    machine = Machine(tmp_path)
    machine.meminfo.unlink()
    with capture_logs() as logs:
        readings = []
        for _ in range(3):
            readings.append(machine.gauge.read())
            machine.clock.advance(1.0)

    assert ([None, None, None], ["host_memory_unreadable"]) == (readings, [log["event"] for log in logs])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("some avg10=1.50 avg60=0.00 avg300=0.00 total=5", ("some", 1.5)),
        ("full avg10=100.00", ("full", 100.0)),
        ("full avg10=100.01", None),
        ("some avg60=1.00", None),
        ("some avg10=nan", None),
        ("", None),
    ],
)
def test_line_of_a_pressure_file(line: str, expected: tuple[str, float] | None) -> None:
    """The share of the last ten seconds counts; what is no share is nothing."""
    assert expected == stall_of(line)


def test_status_tells_host_memory_and_whether_it_is_short() -> None:
    """Operators see what is free beside the GPUs, and the waiting only where the kernel tells it."""
    reading = HostReading(unix_seconds=7.0, total_bytes=1000, free_bytes=400, some_percent=2.5)
    message = host_message(reading, short=True)
    assert message is not None

    assert (7, 1000, 400, 2.5, False, True) == (
        message.time.seconds,
        message.total_bytes,
        message.free_bytes,
        message.some_percent,
        message.HasField("full_percent"),
        message.short,
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"host_low": Mark(percent=101.0)}, ["host_low"]),
        ({"host_low": Mark(percent=20.0)}, ["host_high"]),
        ({"host_low": Mark(size_bytes=9), "host_high": Mark(size_bytes=8)}, ["host_high"]),
        ({"host_some_percent": 0.0}, ["host_some_percent"]),
        ({"host_full_percent": float("nan")}, ["host_full_percent"]),
        ({"trim_minimum_bytes": -1}, ["trim_minimum_bytes"]),
    ],
)
def test_numbers_of_both_rungs_are_checked(changes: dict[str, Any], expected: list[str]) -> None:
    """What contradicts itself, or is no share, is refused by name."""
    wrong = violations(replace(GPU_POLICY, **changes), ())

    assert expected == [one.field for one in wrong]
