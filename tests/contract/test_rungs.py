"""The first rung with the real daemon: it asks a service for what its allocator keeps, and moves nothing if that does.

The daemon reads a fake `libnvidia-ml.so.1` through the real binding, and asks over the service's own socket.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from greenroom.memory.v1 import policy_pb2
from tests.fakes.daemon_process import WAIT_SECONDS, DaemonProcess
from tests.fakes.fake_service import FakeService
from tests.fakes.nvml_library import NvmlState, compiled

GB = 10**9
GPU = "GPU-a"
MODULES = {"t3": 2 * GB, "s3gen.flow": GB}
QUICK = """
[policy]
low = "2GB"
high = "3GB"
maximum_period_seconds = 0.2
minimum_period_seconds = 0.05
grace_seconds = 0.2
"""


class Machine:
    """A GPU of 80 GB, a daemon that watches it, and a service whose allocator keeps 4 GB unused."""

    def __init__(self, folder: Path, library: Path, stack: ExitStack) -> None:
        (folder / "config" / "greenroom").mkdir(parents=True)
        (folder / "config" / "greenroom" / "daemon.toml").write_text(QUICK)
        self.nvml = NvmlState(folder / "nvml.txt", library)
        self.tell(free_bytes=60 * GB)
        self.service = FakeService(folder / "services" / "speech.sock", MODULES, gpu=GPU)
        self.service.kept_bytes = 4 * GB
        self.service.start()
        stack.callback(self.service.stop)
        self.daemon = DaemonProcess(folder, "--memory", "gpu", environment=self.nvml.environment)
        stack.callback(self.daemon.close)
        self.daemon.start()
        assert self.service.wait_for(lambda: len(self.service.accepted) == 1)

    def __repr__(self) -> str:
        return f"<Machine {self.service!r}>"

    def tell(self, *, free_bytes: int) -> None:
        """Let the driver tell this."""
        self.nvml.tell(f"gpu {GPU} {80 * GB} {free_bytes} 0")

    def statuses(self) -> Iterator[policy_pb2.WatchStatusResponse]:
        """Watch what the daemon shows."""
        return iter(self.daemon.stub.WatchStatus(policy_pb2.WatchStatusRequest(), timeout=WAIT_SECONDS))


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


def test_daemon_asks_for_a_cache_verifies_the_answer_and_moves_nothing(machine: Machine) -> None:
    """Low memory that what is kept makes up for costs no module its place; operators see what was asked and came."""
    machine.tell(free_bytes=1_500_000_000)
    asked = machine.service.wait_for(lambda: bool(machine.service.trims))
    machine.tell(free_bytes=5_500_000_000)
    shown = next(
        status for status in machine.statuses() if any("were released" in one.reason for one in status.decisions)
    )

    assert (True, ["memory-daemon"], 0) == (asked, machine.service.trims, machine.service.kept_bytes)
    assert ["speech"] == [one.service for one in shown.decisions if one.trim]
    assert [] == [one for one in shown.decisions if one.evict]
    assert [] == machine.service.violations


def test_daemon_tells_host_memory_beside_its_gpus(machine: Machine) -> None:
    """What is free on the host stands beside the GPUs, as the kernel of this machine tells it."""
    host = next(status.host for status in machine.statuses() if status.HasField("host"))

    assert 0 < host.free_bytes <= host.total_bytes
