"""The policy socket's place: who may have it, and what may lie in its way."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from memory_daemon.errors import StartupError
from memory_daemon.policy_socket import take_place


def test_place_in_a_new_folder_is_private_to_user_and_group(tmp_path: Path) -> None:
    """The folder is made with 0750."""
    place = take_place(tmp_path / "new" / "policy.sock")
    place.release()

    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o750


def test_place_with_odd_characters_is_where_grpc_binds(tmp_path: Path) -> None:
    """An address is a URI: what would mean something in one is percent-encoded, and the file has its own name."""
    place = take_place(tmp_path / "100%25 of me" / "policy#1?.sock")
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_insecure_port(place.address)
    found = [path.name for path in place.path.parent.iterdir() if path.is_socket()]
    server.stop(None).wait()
    place.release()

    assert ["policy#1?.sock"] == found


def test_place_with_a_dead_socket_is_cleared(tmp_path: Path) -> None:
    """A socket that nobody locks is what a dead daemon left."""
    path = tmp_path / "policy.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    place = take_place(path)
    place.release()

    assert not path.exists()


def test_place_that_is_taken_is_refused(tmp_path: Path) -> None:
    """A lock beside the socket decides, because gRPC would bind over a live one."""
    place = take_place(tmp_path / "policy.sock")
    with pytest.raises(StartupError, match="--policy-socket of its own"):
        take_place(tmp_path / "policy.sock")
    place.release()
    again = take_place(tmp_path / "policy.sock")
    again.release()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_place_with_something_foreign_is_refused_and_untouched(tmp_path: Path, kind: str) -> None:
    """What is no socket is somebody's, even a link to one."""
    path = tmp_path / "policy.sock"
    match kind:
        case "file":
            path.write_text("precious")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to(tmp_path / "elsewhere.sock")
    before = path.lstat()
    with pytest.raises(StartupError, match="is there and is no socket: move it away"):
        take_place(path)

    assert before.st_ino == path.lstat().st_ino


def test_place_in_a_folder_open_to_all_is_refused(tmp_path: Path) -> None:
    """Where everybody may write, anybody could answer operators."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)

    with pytest.raises(StartupError, match="open to all"):
        take_place(tmp_path / "open" / "policy.sock")


def test_place_below_a_file_is_refused(tmp_path: Path) -> None:
    """A folder that cannot be made is said with the way out."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StartupError, match="choose another --policy-socket"):
        take_place(tmp_path / "file" / "policy.sock")


def test_place_with_a_long_path_is_refused(tmp_path: Path) -> None:
    """The kernel's limit is said before gRPC fails with other words."""
    with pytest.raises(StartupError, match="longer than 107 bytes"):
        take_place(tmp_path / ("x" * 108) / "policy.sock")
