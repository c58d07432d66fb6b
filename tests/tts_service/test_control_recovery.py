"""The control socket is deleted under a service that serves: it comes back, and governors with it."""

import shutil
from collections.abc import Iterator

import grpc
import pytest
from structlog.testing import capture_logs

from greenroom.memory.v1 import residency_pb2 as pb
from greenroom.memory.v1 import residency_pb2_grpc
from tests.fakes.control_path import QUICK, ControlPath, serving
from tests.fakes.governor_client import GovernorClient


@pytest.fixture
def path() -> Iterator[ControlPath]:
    """Serve with short times and few places."""
    with serving(QUICK) as running:
        yield running


def epoch_of_new_governor(path: ControlPath) -> int:
    """Dial as a daemon does that begins anew, and return the epoch it gets."""
    with grpc.insecure_channel(f"unix:{path.server.socket_path}") as channel:
        governor = GovernorClient(channel)
        welcome = governor.hello()
        governor.leave()
        return welcome.epoch


def names_service(path: ControlPath) -> str:
    """Dial, and return the service's name."""
    with grpc.insecure_channel(f"unix:{path.server.socket_path}") as channel:
        stub = residency_pb2_grpc.ResidencyServiceStub(channel)
        return stub.GetResidency(pb.GetResidencyRequest(), timeout=10).service_name


def tend(path: ControlPath, times: int = 1) -> list[str]:
    """Look after the socket, and return what was logged of it."""
    with capture_logs() as logs:
        for _ in range(times):
            path.server.tend()
    return [entry["event"] for entry in logs if entry["event"].startswith("control_socket")]


def test_socket_that_is_there_is_left_alone(path: ControlPath) -> None:
    """A governor is not disturbed by a look."""
    first = path.governor().hello().epoch

    assert ([], first) == (tend(path, 3), path.report().epoch)


def test_socket_that_was_deleted_is_bound_anew_and_the_governor_returns(path: ControlPath) -> None:
    """The service keeps its governance: the same holder gets the next epoch of the same service."""
    first = path.governor().hello().epoch
    path.server.socket_path.unlink()

    assert ["control_socket_bound_anew"] == tend(path)
    assert first + 1 == epoch_of_new_governor(path)


def test_folder_that_was_deleted_is_made_anew(path: ControlPath) -> None:
    """A cleaner may take the folder, too, and with it the lock's file."""
    shutil.rmtree(path.server.socket_path.parent)

    assert ["control_socket_bound_anew"] == tend(path)
    assert "default" == names_service(path)


def test_something_else_in_its_place_is_not_touched_and_said_once(path: ControlPath) -> None:
    """A file of somebody's stays; when it is gone, the service is there again."""
    socket = path.server.socket_path
    socket.unlink()
    socket.write_text("mine")
    events = tend(path, 3)
    kept = socket.read_text()
    socket.unlink()

    assert (["control_socket_lost"], "mine") == (events, kept)
    assert ["control_socket_bound_anew"] == tend(path)
    assert "default" == names_service(path)


def test_server_that_lost_its_socket_can_be_stopped(path: ControlPath) -> None:
    """The end is the same, with a socket or without; afterwards nothing is bound any more."""
    path.server.socket_path.unlink()
    path.server.socket_path.write_text("mine")
    tend(path)
    path.server.stop()

    assert [] == tend(path)
    assert "mine" == path.server.socket_path.read_text()
