"""What others say, and what an earlier run left: a real daemon among services that lie, lag behind or are ahead."""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from greenroom.memory.v1 import policy_pb2, residency_pb2
from tests.fakes.daemon_process import WAIT_SECONDS, DaemonProcess
from tests.fakes.fake_service import FakeService
from tests.fakes.hurt import eventually, nonsense_at, talk_nonsense

QUICK = """
[policy]
maximum_period_seconds = 0.2
minimum_period_seconds = 0.05
valid_for_seconds = 3
renewal_seconds = 0.5
critical = "0.1%"
low = "0.2%"
high = "0.3%"
"""
OF_TOMORROW = bytes.fromhex("aa06032a0100")
"""Field 101 of some bytes: what a later version may add to any message."""


class Site:
    """A folder in which daemons and services run."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        (folder / "config" / "greenroom").mkdir(parents=True)
        (folder / "config" / "greenroom" / "daemon.toml").write_text(QUICK)

    def service(self, name: str = "speech") -> FakeService:
        """Start a service of one module."""
        fake = FakeService(self.folder / "services" / f"{name}.sock", {"voice": 1_000_000})
        fake.start()
        self._stack.callback(fake.stop)
        return fake

    def daemon(self, *, start: bool = True, **environment: str) -> DaemonProcess:
        """Start a daemon that watches host memory."""
        process = DaemonProcess(self.folder, "--memory", "host", environment=environment)
        self._stack.callback(process.close)
        if start:
            process.start()
        return process


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give a folder, and end what runs in it."""
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def states(daemon: DaemonProcess) -> dict[str, bool]:
    """Return which services are governed."""
    status = next(iter(daemon.stub.WatchStatus(policy_pb2.WatchStatusRequest(), timeout=WAIT_SECONDS)))
    return {service.service: service.governed for service in status.services}


def renewed(service: FakeService, times: int = 2) -> bool:
    """Wait until the directive in force was renewed so many times more."""
    reign = service._reign
    assert reign is not None
    before = reign.renewals
    return service.wait_for(lambda: reign.renewals >= before + times)


def accepted(service: FakeService, count: int = 1) -> Callable[[], bool]:
    """Return whether so many directives have been accepted."""
    return lambda: len(service.accepted) >= count


def test_socket_that_talks_garbage_keeps_nobody_from_being_governed(site: Site) -> None:
    """A program that is no service sits in the services' folder: it is shown as such, the others are governed."""
    with nonsense_at(site.folder / "services" / "nonsense.sock"):
        service = site.service()
        daemon = site.daemon()
        assert service.wait_for(accepted(service))
        daemon.wait_for_event("service_not_governed", lambda event: event["service"] == "nonsense")

        assert renewed(service)
        assert {"nonsense": False, "speech": True} == states(daemon)


def test_garbage_on_the_policy_socket_disturbs_nobody(site: Site) -> None:
    """Whoever says what is no gRPC is hung up on; operators are answered, and no descriptor stays."""
    daemon = site.daemon()
    daemon.policy()
    talk_nonsense(daemon.socket)

    assert 0.2 == daemon.policy().low.percent
    assert [] == daemon.words


def test_service_of_another_protocol_is_left_alone_until_it_is_replaced(site: Site) -> None:
    """A daemon does not guess what a service of tomorrow means; when one comes that it knows, it governs."""
    service = site.service()
    service.protocol_version = 2
    daemon = site.daemon()
    told = daemon.wait_for_event("service_not_governed")
    service.stop()
    service.protocol_version = 1
    service.start()

    assert "it speaks protocol 2, this daemon 1" == told["reason"]
    assert service.wait_for(accepted(service))
    assert (1, []) == (len(service.accepted), service.violations)


def test_service_that_knows_more_is_governed_by_what_is_known(site: Site) -> None:
    """Fields, answers and kinds that were added later are passed over, and the reign goes on."""
    service = site.service()
    daemon = site.daemon()
    assert service.wait_for(accepted(service))
    reign = service._reign
    assert reign is not None
    report = service.report()
    report.modules[0].MergeFromString(OF_TOMORROW)
    report.modules[0].state = residency_pb2.ModuleState.ValueType(99)
    for response in (residency_pb2.GovernResponse(), residency_pb2.GovernResponse(report=report)):
        response.MergeFromString(OF_TOMORROW)
        reign.said.put(response)

    assert renewed(service)
    assert ({"speech": True}, 1) == (states(daemon), len(service.hellos))


def test_operator_that_knows_more_is_answered(site: Site) -> None:
    """A request with a field of tomorrow is understood without it."""
    daemon = site.daemon()
    request = policy_pb2.GetPolicyRequest.FromString(OF_TOMORROW)

    assert 0.2 == daemon.stub.GetPolicy(request, timeout=WAIT_SECONDS).policy.low.percent


def test_corrupt_policy_gives_way_to_the_last_good_one(site: Site) -> None:
    """What a torn disk left is put aside and said; the policy before it is in force."""
    daemon = site.daemon()
    daemon.set_marks(low=0.25)
    daemon.set_marks(low=0.28)
    daemon.end(signal.SIGKILL)
    (daemon.state / "policy.json").write_bytes(b'{"schema": 1, "policy": {"low"')
    again = site.daemon()
    told = again.wait_for_event("kept_file_unusable")

    assert "the last good one is used" in told["trouble"]
    assert (0.25, True) == (again.policy().low.percent, (daemon.state / "policy.json.corrupt").exists())


def test_change_that_cannot_be_kept_is_no_change(site: Site) -> None:
    """On a full disk an operator hears so, what runs stays as a restart would find it, and services are governed."""
    service = site.service()
    daemon = site.daemon(start=False)
    daemon.start(file_bytes_maximum=300)
    assert service.wait_for(accepted(service))
    with pytest.raises(grpc.RpcError) as raised:
        daemon.set_marks(low=0.25)

    assert grpc.StatusCode.INTERNAL is raised.value.code()
    assert (0.2, True) == (daemon.policy().low.percent, renewed(service))


def test_daemon_under_a_service_manager_says_how_it_is(site: Site, tmp_path: Path) -> None:
    """Ready when it serves, alive while its loop turns, stopping when it is told to."""
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as ear:
        ear.bind(str(tmp_path / "notify"))
        daemon = site.daemon(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="400000")
        assert eventually(lambda: said(ear, heard).count("WATCHDOG=1") >= 5)
        assert 0 == daemon.end()
        lines = said(ear, heard)

    assert ("READY=1", "STOPPING=1") == (lines[0], lines[-1])
    assert "STATUS=governs 0 services; host room" in lines


def said(ear: socket.socket, heard: list[str]) -> list[str]:
    """Add what was said since, and return all of it, line by line."""
    while True:
        try:
            heard.extend(ear.recv(4096).decode().splitlines())
        except BlockingIOError:
            return heard


def test_idle_daemon_is_small_and_knows_nothing_of_tensors(site: Site) -> None:
    """It governs in less than 80 MiB, and nothing of torch or CUDA is in its address space."""
    service = site.service()
    daemon = site.daemon()
    assert service.wait_for(accepted(service))
    assert renewed(service, 4)
    maps = Path(f"/proc/{daemon.pid}/maps").read_text(encoding="utf-8")
    lines = Path(f"/proc/{daemon.pid}/status").read_text(encoding="ascii").splitlines()
    resident_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

    assert [] == [name for name in ("torch", "libcuda", "libcudart", "numpy") if name in maps]
    assert resident_kib <= 80 * 1024
