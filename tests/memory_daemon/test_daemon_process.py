"""The real daemon process, governing a service that speaks the real protocol, over real sockets and files."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from greenroom.memory.v1 import policy_pb2, residency_pb2
from memory_daemon.journal import journal_files
from memory_daemon.journal_records import Entry, PolicyChanged, Started, read_journal
from tests.fakes.daemon_process import DaemonProcess
from tests.fakes.fake_cgroup import FakeCgroup
from tests.fakes.fake_service import FakeService

MB = 10**6
MODULES = {"voice": 200 * MB, "detector": 100 * MB}
QUICK = """
[policy]
maximum_period_seconds = 0.2
minimum_period_seconds = 0.05
minimum_absence_seconds = 0.2
cool_down_seconds = 0.2
"""
DISK, HOST = residency_pb2.TIER_DISK, residency_pb2.TIER_HOST


class Machine:
    """A cgroup of 1,000 MB, services in it, and daemons that watch it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._others_bytes = 300 * MB
        self._held_bytes = 0
        self._cgroup = FakeCgroup(folder / "cgroup", limit_bytes=1000 * MB, used_bytes=self._others_bytes)
        (folder / "config" / "greenroom").mkdir(parents=True)
        (folder / "config" / "greenroom" / "daemon.toml").write_text(QUICK)

    def daemon(self, *flags: str, start: bool = True, **places: str) -> DaemonProcess:
        """Start a daemon; it is ended with the test."""
        memory = ("--memory", "host", "--cgroup-root", str(self._cgroup.folder))
        process = DaemonProcess(self._folder, *memory, *flags, **places)
        self._stack.callback(process.close)
        if start:
            process.start()
        return process

    def service(self, name: str = "speech") -> FakeService:
        """Start a service; what its modules hold is used in the cgroup."""
        fake = FakeService(self._folder / "services" / f"{name}.sock", MODULES, on_held=self._hold)
        self._hold(sum(MODULES.values()))
        fake.start()
        self._stack.callback(lambda: fake.stop() if fake.socket.exists() else None)
        return fake

    def others(self, used_bytes: int) -> None:
        """Let others use that much."""
        self._others_bytes = used_bytes
        self._cgroup.use(self._others_bytes + self._held_bytes)

    def _hold(self, held_bytes: int) -> None:
        self._held_bytes = held_bytes
        self._cgroup.use(self._others_bytes + held_bytes)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Set up a machine, and end what runs on it."""
    with ExitStack() as stack:
        yield Machine(tmp_path, stack)


def at(service: FakeService, **tiers: int) -> Callable[[], bool]:
    """Return whether modules are in these tiers."""
    return lambda: all(service.tier(name) == tier for name, tier in tiers.items())


def holders(service: FakeService) -> set[str]:
    """Return who introduced themselves."""
    return {hello.holder_id for hello in service.hellos}


def test_changed_threshold_takes_effect_and_outlives_the_daemon(machine: Machine) -> None:
    """A mark that is raised makes modules leave; a killed daemon comes back with it, and under its own name."""
    service = machine.service()
    daemon = machine.daemon()
    assert service.wait_for(lambda: len(service.accepted) == 1)
    changed = daemon.set_marks(critical=45.0, low=50.0, high=55.0)
    assert service.wait_for(at(service, voice=DISK))
    assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    again = machine.daemon()
    assert service.wait_for(lambda: len(service.hellos) == 2)
    again.wait_for_event("policy_from_earlier_run")
    policy = again.policy()
    journal = read_journal(journal_files(daemon.state / "journal"))
    kinds = [type(one.record) for one in journal if isinstance(one, Entry)]

    assert (50.0, changed.etag, 1) == (policy.low.percent, policy.etag, len(holders(service)))
    assert (2, 1, []) == (kinds.count(Started), kinds.count(PolicyChanged), service.violations)


def test_memory_that_gets_short_and_recovers_moves_modules(machine: Machine) -> None:
    """Below critical the modules leave; with room again, one that was used lately comes home."""
    service = machine.service()
    service.use("voice")
    machine.daemon("--low", "20%", "--high", "25%")
    assert service.wait_for(lambda: len(service.accepted) == 1)
    machine.others(660 * MB)
    assert service.wait_for(at(service, voice=DISK))
    machine.others(100 * MB)
    assert service.wait_for(at(service, voice=HOST))

    assert service.violations == []


def test_service_that_dies_and_returns_is_governed_again(machine: Machine) -> None:
    """Services come and go: the daemon forgets them and finds them."""
    service = machine.service()
    daemon = machine.daemon()
    assert service.wait_for(lambda: len(service.accepted) == 1)
    service.stop()
    daemon.wait_for_event("service_forgotten")
    service.start()
    assert service.wait_for(lambda: len(service.accepted) == 2)

    assert (1, []) == (len(holders(service)), service.violations)


def test_operators_see_the_service_and_move_its_modules(machine: Machine) -> None:
    """Overrides reach the service above the policy's own wish, and the status shows why."""
    service = machine.service()
    daemon = machine.daemon()
    assert service.wait_for(lambda: len(service.accepted) == 1)
    override = policy_pb2.Override(service="speech", module="detector", kind=policy_pb2.OVERRIDE_KIND_EVICT)
    daemon.stub.SetOverride(policy_pb2.SetOverrideRequest(override=override, requested_by="ana"))
    assert service.wait_for(at(service, detector=DISK, voice=HOST))
    watch = daemon.stub.WatchStatus(policy_pb2.WatchStatusRequest(), timeout=20)
    status = next(one for one in watch if one.decisions and list(one.decisions[0].evict) == ["detector"])
    watch.cancel()

    assert ("an operator's evict of detector", "ana", "speech") == (
        status.decisions[0].reason,
        status.overrides[0].set_by,
        status.services[0].service,
    )


def test_second_daemon_is_refused_with_the_way_out(machine: Machine) -> None:
    """Two daemons share neither a state folder nor a socket; the first is not disturbed."""
    first = machine.daemon()
    same_state = machine.daemon(start=False, socket="other.sock")
    same_socket = machine.daemon(start=False, state="other")
    for process in (same_state, same_socket):
        process.start(wait=False)
    codes = [process.exit_code() for process in (same_state, same_socket)]

    assert [1, 1] == codes
    assert "another memory-daemon runs here; stop it, or give this one a --state-dir of its own" in same_state.words[-1]
    assert "give this one a --policy-socket of its own" in same_socket.words[-1]
    assert 10.0 == first.policy().low.percent


def test_daemon_that_takes_over_supersedes_the_other(machine: Machine) -> None:
    """Where another daemon governs, a daemon stays passive, unless it is told to take over; then the other does."""
    service = machine.service()
    first = machine.daemon()
    assert service.wait_for(lambda: len(service.accepted) == 1)
    passive = machine.daemon(state="other", socket="other.sock")
    passive.wait_for_event("service_not_governed", lambda event: event["state"] == "refused")
    assert 0 == passive.end(signal.SIGINT)
    machine.daemon("--takeover", state="other", socket="other.sock")
    first.wait_for_event("service_not_governed", lambda event: event["state"] == "superseded")

    assert service.wait_for(lambda: len(service.accepted) == 2)


def test_daemon_on_a_full_disk_goes_on(machine: Machine) -> None:
    """A journal that cannot grow is said once, and modules move all the same."""
    service = machine.service()
    daemon = machine.daemon(start=False)
    daemon.start(file_bytes_maximum=8_000)
    assert service.wait_for(lambda: len(service.accepted) == 1)
    daemon.set_marks(critical=45.0, low=50.0, high=55.0)
    assert service.wait_for(at(service, voice=DISK))
    assert 0 == daemon.end()
    events = [event["event"] for event in daemon.events]

    assert 1 == events.count("journal_not_written")
    assert (daemon.state / "journal" / "journal.jsonl").stat().st_size <= 8_000


def test_corrupt_files_are_put_aside_and_the_daemon_runs(machine: Machine, tmp_path: Path) -> None:
    """A policy and overrides that cannot be read are said and kept; the configuration is in force."""
    (tmp_path / "state").mkdir()
    for name in ("policy.json", "overrides.json"):
        (tmp_path / "state" / name).write_text("{broken")
    daemon = machine.daemon("--low", "12%")
    troubles = [event["trouble"] for event in daemon.events if event["event"] == "kept_file_unusable"]

    assert (12.0, 2) == (daemon.policy().low.percent, len(troubles))
    assert {"policy.json.corrupt", "overrides.json.corrupt"} <= {path.name for path in daemon.state.iterdir()}


def test_signal_ends_the_daemon_cleanly_and_leaves_its_word_in_force(machine: Machine) -> None:
    """It says nothing more to the service, whose directive lives out its time, and it leaves no socket."""
    service = machine.service()
    daemon = machine.daemon()
    assert service.wait_for(lambda: len(service.accepted) == 1)
    watch = daemon.stub.WatchStatus(policy_pb2.WatchStatusRequest(), timeout=20)
    next(watch)
    code = daemon.end(signal.SIGTERM)

    assert (0, False, True, 1) == (code, daemon.socket.exists(), service.is_in_force(), len(service.accepted))


@pytest.mark.parametrize(
    ("flags", "code", "expected"),
    [
        pytest.param(["--low", "20%"], 2, "high: must be at least low: 15% is below 20%", id="marks crossed"),
        pytest.param(["--memory", "gpu"], 1, "use --memory host", id="no GPU"),
    ],
)
def test_daemon_that_cannot_start_says_what_to_do(machine: Machine, flags: list[str], code: int, expected: str) -> None:
    """Settings that cannot be meant end with 2, a machine that does not allow them with 1."""
    daemon = machine.daemon(*flags, start=False)
    daemon.start(wait=False)

    assert code == daemon.exit_code()
    assert expected in "\n".join(daemon.words)
