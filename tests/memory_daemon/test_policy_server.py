"""The server that operators dial: it comes back when its socket is deleted, and touches nothing that is not its own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from greenroom.memory.v1 import policy_pb2, policy_pb2_grpc
from memory_daemon.policy_server import PolicyServer
from tests.fakes.manual_clock import ManualClock


class Answers(policy_pb2_grpc.PolicyServiceServicer):
    """Answers one call."""

    def GetPolicy(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.GetPolicyRequest, context: grpc.ServicerContext
    ) -> policy_pb2.GetPolicyResponse:
        """Answer."""
        del request, context
        return policy_pb2.GetPolicyResponse(policy=policy_pb2.Policy(etag="here"))


def make_server() -> grpc.Server:
    """Return a server that is bound to nothing yet."""
    server = grpc.server(ThreadPoolExecutor(2))
    policy_pb2_grpc.add_PolicyServiceServicer_to_server(Answers(), server)
    return server


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that is set."""
    return ManualClock()


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    """Return where the server is."""
    return tmp_path / "own" / "policy.sock"


@pytest.fixture
def server(clock: ManualClock, socket: Path) -> Iterator[PolicyServer]:
    """Start a server."""
    made = PolicyServer(path=socket, folder_mode=0o700, make=make_server, clock=clock)
    made.start()
    yield made
    made.stop()


def etag(socket: Path) -> str:
    """Dial and ask."""
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        stub = policy_pb2_grpc.PolicyServiceStub(channel)
        return stub.GetPolicy(policy_pb2.GetPolicyRequest(), timeout=10).policy.etag


def tend(server: PolicyServer, clock: ManualClock, times: int = 1) -> list[str]:
    """Let seconds pass, and return what was logged."""
    with capture_logs() as logs:
        for _ in range(times):
            clock.advance(1.0)
            server.tend()
    return [entry["event"] for entry in logs]


def test_socket_that_is_there_is_left_alone(server: PolicyServer, socket: Path, clock: ManualClock) -> None:
    """Nothing is bound anew as long as the socket is the one that was bound."""
    inode = socket.lstat().st_ino

    assert ([], inode, "here") == (tend(server, clock, 3), socket.lstat().st_ino, etag(socket))


def test_socket_that_was_deleted_comes_back(server: PolicyServer, socket: Path, clock: ManualClock) -> None:
    """Operators reach the daemon again a second later, with the same rights."""
    socket.unlink()

    assert ["policy_socket_bound_anew"] == tend(server, clock)
    assert ("here", 0o660) == (etag(socket), socket.stat().st_mode & 0o777)


def test_folder_that_was_deleted_comes_back(server: PolicyServer, socket: Path, clock: ManualClock) -> None:
    """Not even the folder is needed."""
    for path in (*socket.parent.iterdir(), socket.parent):
        path.rmdir() if path.is_dir() else path.unlink()

    assert ["policy_socket_bound_anew"] == tend(server, clock)
    assert "here" == etag(socket)


def test_something_else_in_its_place_is_not_touched_and_said_once(
    server: PolicyServer, socket: Path, clock: ManualClock
) -> None:
    """A file of somebody's stays; when it is gone, the daemon answers again."""
    socket.unlink()
    socket.write_text("mine")
    events = tend(server, clock, 3)
    kept = socket.read_text()
    socket.unlink()

    assert (["policy_socket_lost"], "mine") == (events, kept)
    assert ["policy_socket_bound_anew"] == tend(server, clock)
    assert "here" == etag(socket)


def test_socket_is_gone_after_the_end(server: PolicyServer, socket: Path) -> None:
    """Nobody finds a door behind which nobody is."""
    server.stop()

    assert not socket.exists()
