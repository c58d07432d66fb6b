"""One real daemon process and several services on the same memory: who gets how much, as they come and go."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from greenroom.memory.v1 import policy_pb2, residency_pb2
from tests.fakes.daemon_process import DaemonProcess
from tests.fakes.fake_cgroup import FakeCgroup
from tests.fakes.fake_service import FakeService

MB = 10**6
TOTAL_BYTES = 2000 * MB
OTHERS_BYTES = 400 * MB
CRITICAL_BYTES = TOTAL_BYTES * 5 // 100
MODULES = {"voice": 200 * MB, "detector": 100 * MB}
QUICK = """
[policy]
maximum_period_seconds = 0.2
minimum_period_seconds = 0.05
minimum_absence_seconds = 0.2
cool_down_seconds = 0.2
[floors_bytes]
first = 250_000_000
"""


class SharedMachine:
    """A cgroup of 2,000 MB; what the modules of all services hold is used in it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._lock = threading.Lock()
        self._others_bytes = OTHERS_BYTES
        self._held: dict[str, int] = {}
        self._cgroup = FakeCgroup(folder / "cgroup", limit_bytes=TOTAL_BYTES, used_bytes=OTHERS_BYTES)
        (folder / "config" / "greenroom").mkdir(parents=True)
        (folder / "config" / "greenroom" / "daemon.toml").write_text(QUICK)

    def daemon(self, *flags: str) -> DaemonProcess:
        """Start a daemon; it is ended with the test."""
        process = DaemonProcess(self._folder, "--memory", "host", "--cgroup-root", str(self._cgroup.folder), *flags)
        self._stack.callback(process.close)
        process.start()
        return process

    def service(self, name: str, folder: str = "services") -> FakeService:
        """Start a service."""
        socket = self._folder / folder / f"{name}.sock"
        fake = FakeService(socket, MODULES, on_held=lambda held_bytes: self._hold(name, held_bytes))
        self._hold(name, sum(MODULES.values()))
        fake.start()
        self._stack.callback(lambda: fake.stop() if fake.socket.exists() else None)
        return fake

    def end(self, service: FakeService) -> None:
        """Let a service die, and its memory with it."""
        service.stop()
        self._hold(service.socket.stem, 0)

    def others(self, used_bytes: int) -> None:
        """Let processes that nobody governs use so much."""
        with self._lock:
            self._others_bytes = used_bytes
            self._cgroup.use(self._others_bytes + sum(self._held.values()))

    def _hold(self, name: str, held_bytes: int) -> None:
        with self._lock:
            self._held[name] = held_bytes
            self._cgroup.use(self._others_bytes + sum(self._held.values()))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[SharedMachine]:
    """Set up a machine, and end what runs on it."""
    with ExitStack() as stack:
        yield SharedMachine(tmp_path, stack)


def status_when(
    daemon: DaemonProcess, holds: Callable[[policy_pb2.WatchStatusResponse], bool]
) -> policy_pb2.WatchStatusResponse:
    """Watch until a status is as it should be, and return it."""
    watch = daemon.stub.WatchStatus(policy_pb2.WatchStatusRequest(), timeout=20)
    try:
        return next(status for status in watch if holds(status))
    finally:
        watch.cancel()


def shared_by(*names: str) -> Callable[[policy_pb2.WatchStatusResponse], bool]:
    """Return whether exactly these services have budgets."""
    return lambda status: set(budgets(status)) == set(names)


def budgets(status: policy_pb2.WatchStatusResponse) -> dict[str, int]:
    """Return the budgets that are handed out."""
    return dict(status.ledgers[0].budget_bytes) if status.ledgers else {}


def uses(status: policy_pb2.WatchStatusResponse, name: str) -> dict[str, int]:
    """Return how often each module of a service was used, as far as the daemon has heard."""
    return {
        each.module: each.uses for known in status.services if known.service == name for each in known.report.modules
    }


def newest_budget(service: FakeService) -> int | None:
    """Return the budget in the newest directive that a service accepted; None for its own."""
    if not service.accepted or not service.accepted[-1].HasField("budget_bytes"):
        return None
    return service.accepted[-1].budget_bytes


def test_services_in_the_folder_and_in_the_configuration_share_one_ledger(
    machine: SharedMachine, tmp_path: Path
) -> None:
    """Found or listed, each gets a budget; they fit together into what is there, and arrive as directives."""
    first, second = machine.service("first"), machine.service("second")
    third = machine.service("third", "elsewhere")
    daemon = machine.daemon("--socket", str(tmp_path / "elsewhere" / "third.sock"))
    status = status_when(daemon, shared_by("first", "second", "third"))
    handed_out = budgets(status)

    assert sum(handed_out.values()) <= TOTAL_BYTES - OTHERS_BYTES - CRITICAL_BYTES
    assert handed_out["first"] >= 250 * MB
    for name, service in {"first": first, "second": second, "third": third}.items():
        assert service.wait_for(lambda service=service, name=name: newest_budget(service) == handed_out[name])
        assert [] == service.violations


def test_service_that_dies_and_comes_back_changes_the_budgets_of_the_others(machine: SharedMachine) -> None:
    """Its reservation ends with it: who is left alone has its own budget, and shares again when it is back."""
    first, second = machine.service("first"), machine.service("second")
    daemon = machine.daemon()
    status_when(daemon, shared_by("first", "second"))
    machine.end(second)
    alone = status_when(daemon, shared_by())
    assert first.wait_for(lambda: newest_budget(first) is None)
    machine.service("second")
    again = status_when(daemon, shared_by("first", "second"))

    assert not alone.ledgers
    assert {"first", "second"} == set(budgets(again))
    assert [] == first.violations


def test_pressure_takes_the_idle_services_modules_and_leaves_the_busy_ones_floor(machine: SharedMachine) -> None:
    """Victims are chosen across services: the one that is never used gives, the busy one keeps everything."""
    idle, busy = machine.service("idle"), machine.service("first")
    daemon = machine.daemon()
    status_when(daemon, shared_by("first", "idle"))
    for _ in range(20):
        for name in MODULES:
            busy.use(name)
    status_when(daemon, lambda status: uses(status, "first") == dict.fromkeys(MODULES, 20))
    machine.others(1330 * MB)

    assert idle.wait_for(lambda: idle.tier("voice") == residency_pb2.TIER_DISK)
    assert {residency_pb2.TIER_HOST} == {busy.tier(name) for name in MODULES}


def test_floors_that_cannot_be_kept_are_shown(machine: SharedMachine) -> None:
    """When others want nearly everything, the status says what the floors promise too much."""
    machine.service("first")
    machine.service("second")
    daemon = machine.daemon()
    status_when(daemon, shared_by("first", "second"))
    machine.others(1800 * MB)
    status = status_when(daemon, lambda status: bool(status.ledgers) and status.ledgers[0].overdraft_bytes > 0)

    assert {"first": 250 * MB, "second": 200 * MB} == budgets(status)
