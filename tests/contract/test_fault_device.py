"""The driver fails under a real daemon: it hangs, a GPU is lost; nothing else stops for that.

The daemon reads a fake `libnvidia-ml.so.1` through the real binding, and governs a service that speaks the protocol.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from greenroom.memory.v1 import policy_pb2, residency_pb2
from memory_daemon.journal import journal_files
from memory_daemon.journal_records import DeviceEvent, Entry, read_journal
from tests.fakes.daemon_process import WAIT_SECONDS, DaemonProcess
from tests.fakes.fake_service import FakeService
from tests.fakes.hurt import eventually
from tests.fakes.nvml_library import NvmlState, compiled

GB = 10**9
GPU, OTHER = "GPU-a", "GPU-b"
MODULES = {"t3": 2 * GB, "s3gen.flow": GB}
OTHERS_BYTES = 20 * GB
QUICK = """
[policy]
maximum_period_seconds = 0.2
minimum_period_seconds = 0.05
valid_for_seconds = 3
renewal_seconds = 0.5
"""
GPU_LOST = 15
XID = 0x8


class Machine:
    """Two GPUs of 80 GB, a daemon that watches them, and a service on the first one."""

    def __init__(self, folder: Path, library: Path, stack: ExitStack) -> None:
        (folder / "config" / "greenroom").mkdir(parents=True)
        (folder / "config" / "greenroom" / "daemon.toml").write_text(QUICK)
        self.nvml = NvmlState(folder / "nvml.txt", library)
        self.tell()
        self.service = FakeService(folder / "services" / "speech.sock", MODULES, gpu=GPU)
        self.service.start()
        stack.callback(self.service.stop)
        self.daemon = DaemonProcess(folder, "--memory", "gpu", environment=self.nvml.environment)
        stack.callback(self.daemon.close)
        # A library that hangs must not keep the process from its end.
        stack.callback(self.tell)
        self.daemon.start()
        assert self.service.wait_for(lambda: len(self.service.accepted) == 1)

    def tell(self, *lines: str, free_bytes: int = 80 * GB - OTHERS_BYTES, code: int = 0) -> None:
        """Let the driver tell this of the first GPU, and more."""
        others = f"gpu {OTHER} {80 * GB} {70 * GB} 0"
        self.nvml.tell(f"gpu {GPU} {80 * GB} {free_bytes} {code}", others, *lines)

    def statuses(self) -> Iterator[policy_pb2.WatchStatusResponse]:
        """Watch what the daemon shows."""
        return iter(self.daemon.stub.WatchStatus(policy_pb2.WatchStatusRequest(), timeout=WAIT_SECONDS))

    def error_of(self, gpu: str, status: policy_pb2.WatchStatusResponse) -> str:
        """Return why a GPU cannot be read; empty if it can."""
        return next(device.error for device in status.samples if device.device == gpu)

    def events(self) -> list[DeviceEvent]:
        """Return what the journal says that happened to devices."""
        journal = read_journal(journal_files(self.daemon.state / "journal"))
        records = [one.record for one in journal if isinstance(one, Entry)]
        return [record for record in records if isinstance(record, DeviceEvent)]

    def renewed(self, times: int) -> bool:
        """Wait until the directive has been renewed so many times more."""
        reign = self.service._reign
        assert reign is not None
        before = reign.renewals
        return self.service.wait_for(lambda: reign.renewals >= before + times)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the library and return its folder."""
    folder = compiled(tmp_path_factory.mktemp("nvml"))
    if folder is None:
        pytest.skip("there is no C compiler")
    return folder


@pytest.fixture
def machine(tmp_path: Path, library: Path) -> Iterator[Machine]:
    """Set up a machine, and end what runs on it."""
    with ExitStack() as stack:
        yield Machine(tmp_path, library, stack)


def test_driver_that_hangs_blocks_neither_operators_nor_services(machine: Machine) -> None:
    """While readings hang the daemon answers, renews, decides nothing; afterwards it sees what is, and acts on it."""
    machine.tell("hang")
    hanging = next(status for status in machine.statuses() if machine.error_of(GPU, status))
    changed = machine.daemon.set_marks(critical=10.0, low=12.0, high=14.0)
    renewed = machine.renewed(3)
    before = len(machine.service.accepted)
    machine.tell(free_bytes=5 * GB)
    left = machine.service.wait_for(lambda: machine.service.tier("t3") == residency_pb2.TIER_HOST)

    assert "the driver did not answer within 0.2 s" == machine.error_of(GPU, hanging)
    assert (12.0, True, 1, True) == (changed.low.percent, renewed, before, left)
    assert [] == machine.service.violations


def test_daemon_whose_driver_hangs_ends_when_it_is_told(machine: Machine) -> None:
    """A signal ends it at once and in order: it leaves no socket behind."""
    machine.tell("hang")
    next(status for status in machine.statuses() if machine.error_of(GPU, status))

    assert (0, False) == (machine.daemon.end(), machine.daemon.socket.exists())


def test_gpu_that_is_lost_stops_decisions_for_it_alone(machine: Machine) -> None:
    """The other GPU is read on, the service stays governed, and the journal has the driver's word for it."""
    machine.tell(f"event {GPU} {XID} 79", code=GPU_LOST)
    lost = next(status for status in machine.statuses() if machine.error_of(GPU, status))
    renewed = machine.renewed(2)
    recorded = eventually(lambda: bool(machine.events()))

    assert recorded
    assert ("GPU is lost", "", True) == (machine.error_of(GPU, lost), machine.error_of(OTHER, lost), renewed)
    assert [("xid", 79)] == [(event.event, event.number) for event in machine.events()]
