"""The control server on a real Unix socket: taking it, giving it back, and whoever comes with nonsense."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from greenroom.memory.v1 import residency_pb2 as pb
from greenroom.memory.v1 import residency_pb2_grpc
from tests.fakes.control_path import IDENTITY, QUICK, ControlPath, eventually, serving
from tests.fakes.fake_residency_manager import FakeResidencyManager
from tts_service.api.residency import ControlLimits, ResidencyServicer
from tts_service.control_server import ControlServer
from tts_service.control_socket import ControlSocket
from tts_service.errors import StartupError
from tts_service.residency.governance import Governance

SERVICE = """
import sys, time
from pathlib import Path
from tests.tts_service.test_control_server import server_at
server_at(Path(sys.argv[1])).start()
print("ready", flush=True)
time.sleep(600)
"""

GOVERN = "/greenroom.memory.v1.ResidencyService/Govern"
GET = "/greenroom.memory.v1.ResidencyService/GetResidency"


def server_at(path: Path) -> ControlServer:
    """Return a control server that has not started."""
    governance = Governance(residency=FakeResidencyManager(), clock=time.monotonic)
    servicer = ResidencyServicer(governance=governance, identity=IDENTITY, limits=ControlLimits())
    return ControlServer(socket=ControlSocket(path), governance=governance, servicer=servicer)


def answers(path: Path) -> bool:
    """Tell whether a service answers at a path."""
    with grpc.insecure_channel(f"unix:{path}") as channel:
        stub = residency_pb2_grpc.ResidencyServiceStub(channel)
        return stub.GetResidency(pb.GetResidencyRequest(), timeout=10).service_name == "default"


def answers_quickly(path: ControlPath) -> bool:
    """Tell whether a call is served, or else refused for want of a thread."""
    try:
        path.report()
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False
    return True


@pytest.fixture
def path() -> Iterator[ControlPath]:
    """Serve with short times and few places."""
    with serving(QUICK) as running:
        yield running


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """Give a path for a socket, short enough."""
    with tempfile.TemporaryDirectory(prefix="gr") as name:
        yield Path(name) / "c.sock"


def test_socket_of_a_running_server_is_for_owner_and_group(path: ControlPath) -> None:
    """Others cannot connect."""
    assert 0o660 == stat.S_IMODE(path.server.socket_path.stat().st_mode)


def test_stopped_server_leaves_nothing(socket_path: Path) -> None:
    """After a stop there is no socket, no thread, and the path is free."""
    before = set(threading.enumerate())
    server = server_at(socket_path)
    server.start()
    assert answers(socket_path)
    server.stop()
    eventually(lambda: not [left for left in set(threading.enumerate()) - before if not left.daemon])
    gone = not socket_path.exists()
    again = server_at(socket_path)
    again.start()
    served = answers(socket_path)
    again.stop()

    assert (True, True) == (gone, served)


def test_stop_twice_is_once(socket_path: Path) -> None:
    """A second stop, or one without a start, does nothing."""
    server = server_at(socket_path)
    server.stop()
    server.start()
    server.stop()
    server.stop()

    assert not socket_path.exists()


def test_socket_taken_early_keeps_others_out_until_stopped(socket_path: Path) -> None:
    """A service that is still loading has its path already, and gives it back if it never serves."""
    early, late = server_at(socket_path), server_at(socket_path)
    early.take()
    with pytest.raises(StartupError, match="in use"):
        late.take()
    early.stop()
    late.take()
    late.start()
    served = answers(socket_path)
    late.stop()

    assert served


def test_second_server_is_refused_and_the_first_goes_on(path: ControlPath) -> None:
    """One path has one service; the second is told who has it."""
    second = server_at(path.server.socket_path)
    with pytest.raises(StartupError, match=f"in use by process {os.getpid()}: stop it"):
        second.start()
    second.stop()

    assert answers(path.server.socket_path)


def test_socket_of_a_killed_server_is_taken_over(socket_path: Path) -> None:
    """A service that was killed is replaced without a hand's turn."""
    command = [sys.executable, "-c", SERVICE, str(socket_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = any(line == "ready\n" for line in process.stdout)
        process.kill()
    left = socket_path.is_socket()
    server = server_at(socket_path)
    server.start()
    served = answers(socket_path)
    server.stop()

    assert (True, True, True) == (started, left, served)


def test_path_that_gets_lost_while_starting_is_a_startup_error(socket_path: Path) -> None:
    """A path that gRPC cannot bind is told as such, and the lock is free again."""
    server = server_at(socket_path)
    socket_path.mkdir()
    with pytest.raises(StartupError):
        server.start()
    socket_path.rmdir()
    server.start()
    served = answers(socket_path)
    server.stop()

    assert served


def test_path_of_odd_characters_is_served() -> None:
    """What gRPC would read as part of a URI is a path like any other."""
    with tempfile.TemporaryDirectory(prefix="g r%20é#?") as name:
        server = server_at(Path(name) / "c.sock")
        server.start()
        found = (Path(name) / "c.sock").is_socket()
        server.stop()

    assert found


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 10_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 10_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        os.urandom(100_000),
    ],
    ids=["zeros", "http1", "preface and noise", "preface and settings", "noise"],
)
def test_garbage_on_the_socket_harms_nobody(path: ControlPath, garbage: bytes) -> None:
    """Whoever sends anything but gRPC is cut off, and the next caller is served."""
    governor = path.governor()
    governor.hello()
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5.0)
            client.connect(os.fspath(path.server.socket_path))
            try:
                client.sendall(garbage)
            except OSError:
                continue

    assert (1, 1) == (governor.direct(1, 1).ack.version, path.report().epoch)


@pytest.mark.parametrize("body", [b"\xff" * 100, b"\x0a\x04\x0a\x02\xff\xfe"], ids=["no protobuf", "no UTF-8"])
def test_message_that_cannot_be_read_ends_its_call_alone(path: ControlPath, body: bytes) -> None:
    """Bytes that are no message are a bad request: they end the call that carried them, and no other."""
    governor = path.governor()
    governor.hello()
    raw = path.channel.stream_stream(GOVERN)
    with pytest.raises(grpc.RpcError) as ended:
        list(raw(iter([body]), timeout=20))

    assert (grpc.StatusCode.INVALID_ARGUMENT, 1) == (ended.value.code(), governor.direct(1, 1).ack.version)


def test_message_that_is_too_long_ends_its_call_alone(path: ControlPath) -> None:
    """What is longer than any directive is not taken in."""
    with pytest.raises(grpc.RpcError) as ended:
        path.channel.unary_unary(GET)(b"\x00" * 1_000_000, timeout=20)

    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, 0) == (ended.value.code(), path.report().epoch)


def test_unknown_method_is_unimplemented(path: ControlPath) -> None:
    """A newer client learns what this service cannot do."""
    with pytest.raises(grpc.RpcError) as ended:
        path.channel.unary_unary("/greenroom.memory.v1.ResidencyService/Forget")(b"", timeout=20)

    assert grpc.StatusCode.UNIMPLEMENTED is ended.value.code()


def test_calls_beyond_the_threads_are_refused_not_kept_waiting(path: ControlPath) -> None:
    """When calls that never send their request hold every thread, the next is told at once."""
    over = threading.Event()

    def never() -> Iterator[bytes]:
        over.wait()
        yield b""

    calls: list[Any] = []

    def all_taken() -> bool:
        calls.append(path.channel.stream_unary(GET).future(never(), timeout=60))
        return not answers_quickly(path)

    eventually(all_taken)
    for call in calls:
        call.cancel()
    over.set()
    eventually(lambda: answers_quickly(path))

    assert 0 == path.report().epoch


def test_governor_that_vanishes_is_let_out(path: ControlPath) -> None:
    """A connection that breaks without a word ends the reign's stream, and leaves its word."""
    with grpc.insecure_channel(
        f"unix:{path.server.socket_path}", options=(("grpc.use_local_subchannel_pool", 1),)
    ) as own:
        call = own.stream_stream(GOVERN)(
            iter([pb.GovernRequest(hello=pb.Hello(holder_id="gone")).SerializeToString()]), timeout=60
        )
        next(call)
    eventually(lambda: "away" in repr(path.governance))

    assert "'gone' epoch=1 away" in repr(path.governance)
