"""What operators switch and ask, with the real daemon: a freeze over a kill, reasons, history, taking back."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from greenroom.memory.v1 import policy_pb2, residency_pb2
from tests.fakes.daemon_process import WAIT_SECONDS, DaemonProcess
from tests.fakes.fake_cgroup import FakeCgroup
from tests.fakes.fake_service import FakeService

MB = 10**6
QUICK = """
[policy]
maximum_period_seconds = 0.2
minimum_period_seconds = 0.05
minimum_absence_seconds = 0.2
cool_down_seconds = 0.2
"""
DISK, HOST = residency_pb2.TIER_DISK, residency_pb2.TIER_HOST


class Machine:
    """A cgroup of 1,000 MB with a service that holds 300, and a daemon that watches it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._held_bytes = 300 * MB
        self._others_bytes = 300 * MB
        self.cgroup = FakeCgroup(folder / "cgroup", limit_bytes=1000 * MB, used_bytes=600 * MB)
        (folder / "config" / "greenroom").mkdir(parents=True)
        (folder / "config" / "greenroom" / "daemon.toml").write_text(QUICK)
        modules = {"voice": 200 * MB, "detector": 100 * MB}
        self.service = FakeService(folder / "services" / "speech.sock", modules, on_held=self._hold)
        self.service.start()
        stack.callback(self.service.stop)

    def daemon(self) -> DaemonProcess:
        """Start a daemon; it is ended with the test."""
        process = DaemonProcess(self._folder, "--memory", "host", "--cgroup-root", str(self.cgroup.folder))
        self._stack.callback(process.close)
        process.start()
        return process

    def others(self, used_bytes: int) -> None:
        """Let others use that much."""
        self._others_bytes = used_bytes
        self.cgroup.use(self._others_bytes + self._held_bytes)

    def _hold(self, held_bytes: int) -> None:
        self._held_bytes = held_bytes
        self.cgroup.use(self._others_bytes + held_bytes)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Set up a machine, and end what runs on it."""
    with ExitStack() as stack:
        yield Machine(tmp_path, stack)


def status_when(daemon: DaemonProcess, words: str) -> policy_pb2.WatchStatusResponse:
    """Return the first status with a decision that says so."""
    watch = daemon.stub.WatchStatus(policy_pb2.WatchStatusRequest(), timeout=WAIT_SECONDS)
    status = next(one for one in watch if any(words in decision.reason for decision in one.decisions))
    watch.cancel()
    return status


def test_freeze_outlives_a_kill_and_ends_when_it_is_taken_back(machine: Machine) -> None:
    """Below critical nothing moves, before a kill -9 and after it; once thawed, modules leave at once."""
    first = machine.daemon()
    assert machine.service.wait_for(lambda: len(machine.service.accepted) == 1)
    first.stub.SetFreeze(policy_pb2.SetFreezeRequest(requested_by="ann"), timeout=WAIT_SECONDS)
    first.end(signal.SIGKILL)
    second = machine.daemon()
    assert machine.service.wait_for(lambda: len(machine.service.hellos) == 2)
    machine.others(680 * MB)
    status = status_when(second, "an operator's freeze keeps modules where they are")
    frozen = [machine.service.tier(name) for name in ("voice", "detector")]
    second.stub.ClearFreeze(policy_pb2.ClearFreezeRequest(), timeout=WAIT_SECONDS)

    assert ("ann", [HOST, HOST]) == (status.freeze.set_by, frozen)
    assert machine.service.wait_for(lambda: machine.service.tier("voice") == DISK)
    assert [] == machine.service.violations


def test_daemon_explains_what_it_did_and_remembers_it_in_its_journal(machine: Machine) -> None:
    """The module that left is explained with the decision's own words, and both are in history with the change."""
    daemon = machine.daemon()
    assert machine.service.wait_for(lambda: len(machine.service.accepted) == 1)
    daemon.set_marks(critical=45.0, low=50.0, high=55.0)
    assert machine.service.wait_for(lambda: machine.service.tier("voice") == DISK)
    status_when(daemon, "below critical")
    request = policy_pb2.ExplainPlacementRequest(service="speech", module="voice")
    told = daemon.stub.ExplainPlacement(request, timeout=WAIT_SECONDS)
    history = daemon.stub.GetHistory(policy_pb2.GetHistoryRequest(), timeout=WAIT_SECONDS)
    kinds = {event.kind for event in history.events}
    (explained,) = told.modules

    assert (DISK, policy_pb2.PLACEMENT_CAUSE_POLICY, True) == (
        explained.wanted,
        explained.cause,
        "below critical" in explained.decision.reason,
    )
    assert {
        policy_pb2.HISTORY_KIND_POLICY,
        policy_pb2.HISTORY_KIND_DECISION,
        policy_pb2.HISTORY_KIND_DIRECTIVE,
        policy_pb2.HISTORY_KIND_SERVICE,
        policy_pb2.HISTORY_KIND_DAEMON,
    } <= kinds


def test_undo_reaches_back_over_a_restart(machine: Machine) -> None:
    """A daemon that was killed still knows what the policy was, and goes back to it."""
    first = machine.daemon()
    first.set_marks(low=12.0)
    first.set_marks(low=13.0)
    first.end(signal.SIGKILL)
    second = machine.daemon()
    told = [
        second.stub.UndoPolicy(policy_pb2.UndoPolicyRequest(), timeout=WAIT_SECONDS).policy.low.percent
        for _ in range(2)
    ]

    assert [12.0, 10.0] == told
