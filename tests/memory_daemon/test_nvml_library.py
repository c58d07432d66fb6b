"""The real binding over a fake `libnvidia-ml.so.1`: memory that changes, and every failure as a value of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memory_daemon.types import Fault
from tests.fakes.nvml_library import NvmlState, compiled

GIB = 2**30
GPU = f"gpu GPU-a {80 * GIB} {60 * GIB} 0"
XID, RECOVERY = 0x8, 0x8000


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the library and return its folder."""
    folder = compiled(tmp_path_factory.mktemp("nvml"))
    if folder is None:
        pytest.skip("there is no C compiler")
    return folder


class Probe:
    """A process that reads memory through the library, and the state that the library tells."""

    def __init__(self, folder: Path, library: Path | None, *arguments: str) -> None:
        state = NvmlState(folder / "state.txt", library)
        self.tell = state.tell
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.nvml_probe", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **state.environment},
        )

    def __repr__(self) -> str:
        return f"<Probe {self._process.pid}>"

    def ask(self, command: str) -> Any:
        """Return what the sampler answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def probe(library: Path, tmp_path: Path) -> Iterator[Probe]:
    """Give a process over the fake library."""
    found = Probe(tmp_path, library)
    yield found
    found.close()


def test_memory_that_changes_is_read_as_it_is(probe: Probe) -> None:
    """Every reading shows what is free at that moment."""
    probe.tell(GPU)
    before = probe.ask("sample GPU-a")
    probe.tell(f"gpu GPU-a {80 * GIB} {3 * GIB} 0")

    assert [{"total": 80 * GIB, "free": 60 * GIB}, {"total": 80 * GIB, "free": 3 * GIB}] == [
        before,
        probe.ask("sample GPU-a"),
    ]


def test_memory_of_an_older_driver_is_read_all_the_same(probe: Probe) -> None:
    """Without the second version of the memory information the first one does."""
    probe.tell("old", GPU)

    assert {"total": 80 * GIB, "free": 60 * GIB} == probe.ask("sample GPU-a")


def test_several_gpus_and_instances_are_told_by_uuid(probe: Probe) -> None:
    """A GPU that is divided is told as its instances, which can be read by their own names."""
    probe.tell(GPU, f"gpu GPU-b {40 * GIB} {GIB} 0", f"instance MIG-b1 1 {20 * GIB} {5 * GIB}", "instance MIG-b2 1 9 4")

    assert ["GPU-a", "MIG-b1", "MIG-b2"] == probe.ask("devices")
    assert {"total": 20 * GIB, "free": 5 * GIB} == probe.ask("sample MIG-b1")


@pytest.mark.parametrize(
    ("code", "fault", "lost"),
    [
        pytest.param(15, Fault.GPU_LOST, True, id="GPU lost"),
        pytest.param(16, Fault.GPU_LOST, True, id="reset required"),
        pytest.param(18, Fault.DRIVER_MISMATCH, False, id="driver mismatch"),
        pytest.param(4, Fault.NO_PERMISSION, False, id="no permission"),
        pytest.param(999, Fault.DEVICE_GONE, False, id="unknown error in a container"),
        pytest.param(17, Fault.OTHER, False, id="operating system"),
    ],
)
def test_failure_of_a_reading_is_a_value_and_ends_when_it_ends(
    probe: Probe, code: int, fault: Fault, *, lost: bool
) -> None:
    """A device that fails says in which way; when it can be read again, it is."""
    probe.tell(GPU)
    probe.ask("sample GPU-a")
    probe.tell(f"gpu GPU-a {80 * GIB} 0 {code}")
    failed = probe.ask("sample GPU-a")
    probe.tell(GPU)

    assert (fault.value, lost) == (failed["fault"], failed["lost"])
    assert {"total": 80 * GIB, "free": 60 * GIB} == probe.ask("sample GPU-a")


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        pytest.param(9, Fault.NO_DRIVER, id="driver not loaded"),
        pytest.param(18, Fault.DRIVER_MISMATCH, id="driver mismatch"),
        pytest.param(4, Fault.NO_PERMISSION, id="no permission"),
        pytest.param(999, Fault.DEVICE_GONE, id="devices taken from the container"),
    ],
)
def test_library_that_cannot_begin_says_why(probe: Probe, code: int, fault: Fault) -> None:
    """A library without its driver is told from one that may not see it."""
    probe.tell(f"init {code}", GPU)

    assert fault.value == probe.ask("devices")[0]


def test_device_that_was_taken_away_is_gone(probe: Probe) -> None:
    """A container that lost its device gets a failure of its own kind."""
    probe.tell(GPU)
    probe.ask("sample GPU-a")
    probe.tell("init 0")
    probe.ask("sample GPU-a")

    assert "device_gone" == probe.ask("sample GPU-a")["fault"]


def test_machine_without_the_library_has_no_driver(tmp_path: Path) -> None:
    """Where nothing is installed, that is what is said."""
    found = Probe(tmp_path, None)
    answer = found.ask("devices")
    found.close()
    if answer[0] != "no_driver":
        pytest.skip("this machine has the driver's library")

    assert "no NVIDIA driver" in answer[1]


def test_event_of_a_gpu_that_fails_is_told_all_the_same(probe: Probe) -> None:
    """What happened to a device outlives the end of the library that its failure brings."""
    probe.tell(GPU)
    probe.ask("events")
    probe.tell(f"gpu GPU-a {80 * GIB} 0 15", f"event GPU-a {XID} 79")
    failed = probe.ask("sample GPU-a")
    probe.tell(GPU)

    assert "gpu_lost" == failed["fault"]
    assert [["GPU-a", "xid", 79]] == probe.ask("events")


@pytest.fixture
def hasty(library: Path, tmp_path: Path) -> Iterator[Probe]:
    """Give a process over the fake library that waits for nothing long, with the library begun."""
    found = Probe(tmp_path, library, "0.2")
    found.tell(GPU)
    found.ask("devices")
    yield found
    # What hangs must not keep the process from its end.
    found.tell(GPU)
    found.close()


def test_library_that_hangs_fails_its_readings_and_is_read_again_when_it_answers(hasty: Probe) -> None:
    """Whoever asks gets a failure in time, each time; when the call comes back, memory is what it is then."""
    hasty.tell(GPU, "hang")
    hanging = [hasty.ask("sample GPU-a")["fault"] for _ in range(3)]
    hasty.tell(f"gpu GPU-a {80 * GIB} {3 * GIB} 0")
    hasty.ask("settle")

    assert ["no_answer"] * 3 == hanging
    assert {"total": 80 * GIB, "free": 3 * GIB} == hasty.ask("sample GPU-a")


def test_processes_are_listed_to_explain(probe: Probe) -> None:
    """The largest process comes first."""
    probe.tell(GPU, "process GPU-a 11 100", "process GPU-a 12 300", "process GPU-z 13 900")

    assert [[12, 300], [11, 100]] == probe.ask("processes GPU-a")


def test_events_are_told_once(probe: Probe) -> None:
    """What happened to a device is told in order, and not again."""
    probe.tell(GPU, f"event GPU-a {XID} 79", f"event GPU-a {RECOVERY} 2")

    assert [["GPU-a", "xid", 79], ["GPU-a", "recovery", 2]] == probe.ask("events")
    assert [] == probe.ask("events")
