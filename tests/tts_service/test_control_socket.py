"""Whose the control socket is: locks, leftovers, foreign things and bad paths."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tts_service.control_socket import ControlSocket
from tts_service.errors import StartupError

HOLDER = """
import socket, sys, time
from pathlib import Path
from tts_service.control_socket import ControlSocket
ours = ControlSocket(Path(sys.argv[1]))
ours.take()
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
ours.opened()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder with a short name: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="gr") as name:
        yield Path(name)


@pytest.fixture
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run another process that holds `c.sock`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder / "c.sock")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def bound(path: Path) -> socket.socket:
    """Bind a socket as gRPC would."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen()
    return listener


def refusal(path: Path) -> str:
    """Return why a path cannot be taken, and check that nothing was changed by trying."""
    with pytest.raises(StartupError) as refused:
        ControlSocket(path).take()
    return str(refused.value)


def test_socket_is_for_owner_and_group(folder: Path) -> None:
    """Whoever is in the group may connect, others may not."""
    ours = ControlSocket(folder / "c.sock")
    ours.take()
    with bound(ours.path):
        ours.opened()
        mode = stat.S_IMODE(ours.path.stat().st_mode)
        ours.release()

    assert 0o660 == mode


def test_release_removes_the_socket_and_lets_another_in(folder: Path) -> None:
    """After one service has gone, the next takes the same path."""
    ours, next_one = ControlSocket(folder / "c.sock"), ControlSocket(folder / "c.sock")
    ours.take()
    with bound(ours.path):
        ours.opened()
        ours.release()
    gone = not ours.path.exists()
    next_one.take()
    next_one.release()

    assert gone


def test_release_twice_is_once(folder: Path) -> None:
    """A second release does not take away what is not ours any more."""
    ours, next_one = ControlSocket(folder / "c.sock"), ControlSocket(folder / "c.sock")
    ours.take()
    ours.release()
    next_one.take()
    ours.release()
    words = refusal(folder / "c.sock")
    next_one.release()

    assert "in use" in words


def test_release_leaves_the_socket_of_another(folder: Path) -> None:
    """What somebody put in the place of our socket is not ours to remove."""
    ours = ControlSocket(folder / "c.sock")
    ours.take()
    with bound(ours.path):
        ours.opened()
        with bound(folder / "other.sock"):
            (folder / "other.sock").rename(ours.path)
            ours.release()

    assert ours.path.is_socket()


def test_live_service_is_named_with_its_process(holder: "subprocess.Popen[str]", folder: Path) -> None:
    """A second service is told the path, who has it, and what to do."""
    words = refusal(folder / "c.sock")

    assert [True] * 3 == [part in words for part in (str(folder / "c.sock"), f"process {holder.pid}", "stop it")]


def test_live_service_keeps_its_socket(holder: "subprocess.Popen[str]", folder: Path) -> None:
    """A second service that was refused has changed nothing."""
    refusal(folder / "c.sock")
    with socket.socket(socket.AF_UNIX) as client:
        code = client.connect_ex(os.fspath(folder / "c.sock"))

    assert (0, None) == (code, holder.poll())


def test_socket_of_a_killed_service_is_taken_over(holder: "subprocess.Popen[str]", folder: Path) -> None:
    """The kernel gives the lock back, and the socket that was left is removed."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    left = (folder / "c.sock").is_socket()
    ours = ControlSocket(folder / "c.sock")
    ours.take()
    removed = not ours.path.exists()
    ours.release()

    assert (True, True) == (left, removed)


def test_lock_file_of_a_killed_service_names_the_new_one(folder: Path) -> None:
    """The process number in the lock file is always the holder's, whatever was there before."""
    (folder / "c.sock.lock").write_text("999999999\n")
    ours = ControlSocket(folder / "c.sock")
    ours.take()
    words = refusal(folder / "c.sock")
    ours.release()

    assert f"process {os.getpid()}:" in words


def test_socket_of_another_program_is_left_alone(folder: Path) -> None:
    """A live socket without our lock is somebody else's."""
    with bound(folder / "c.sock"):
        words = refusal(folder / "c.sock")

    assert ("another program listens" in words, True) == (True, (folder / "c.sock").is_socket())


@pytest.mark.parametrize("kind", ["file", "folder", "link", "pipe"])
def test_foreign_thing_at_the_path_is_left_alone(folder: Path, kind: str) -> None:
    """What is no socket is never deleted."""
    path = folder / "c.sock"
    match kind:
        case "file":
            path.write_text("precious")
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(folder / "nowhere")
        case _:
            os.mkfifo(path)
    before = path.lstat()
    words = refusal(path)

    assert ("not a socket" in words, before.st_ino) == (True, path.lstat().st_ino)


def test_refused_path_leaves_no_lock_behind(folder: Path) -> None:
    """A service that could not start keeps nobody out."""
    path = folder / "c.sock"
    path.mkdir()
    refusal(path)
    path.rmdir()
    ours = ControlSocket(path)
    ours.take()
    ours.release()

    assert not path.exists()


@pytest.mark.parametrize("thing", ["folder", "link"])
def test_foreign_thing_at_the_lock_is_refused(folder: Path, thing: str) -> None:
    """A lock that is no plain file is not followed."""
    lock = folder / "c.sock.lock"
    if thing == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(folder / "elsewhere")
    words = refusal(folder / "c.sock")

    assert ("cannot make the control socket" in words, False) == (True, (folder / "elsewhere").exists())


@pytest.mark.parametrize("path", [Path("/sys/c.sock"), Path("/proc/c.sock")])
def test_folder_that_cannot_be_written_is_refused(path: Path) -> None:
    """A folder where nothing can be made is named."""
    words = refusal(path)

    assert ("cannot make the control socket" in words, str(path) in words) == (True, True)


def test_folder_that_is_missing_is_refused(folder: Path) -> None:
    """A folder that was mistyped is not made."""
    words = refusal(folder / "typo" / "c.sock")

    assert ("there is no folder" in words, False) == (True, (folder / "typo").exists())


@pytest.mark.parametrize(("length", "fits"), [(107, True), (108, False)])
def test_path_is_as_long_as_the_system_takes(folder: Path, length: int, fits: bool) -> None:  # noqa: FBT001 - a case.
    """A longer path than the system takes is refused with both numbers."""
    path = folder / ("é" * 5 + "x" * (length - len(os.fsencode(folder)) - 11))
    ours = ControlSocket(path)
    try:
        ours.take()
        words = ""
    except StartupError as error:
        words = str(error)
    ours.release()

    assert fits == (words == "")
    assert fits or f"has {length} bytes, the system takes 107" in words


def test_address_escapes_what_a_uri_would_read_otherwise() -> None:
    """A path with spaces, percent signs and letters of any script is one path for gRPC."""
    assert "unix:/tmp/a%20b%2520%C3%A9.sock" == ControlSocket(Path("/tmp/a b%20é.sock")).address  # noqa: S108 - not opened.
