"""The socket that operators dial: who may have it, and what may lie in its way.

gRPC binds over a live socket without an error, so a lock beside the socket decides whose it is. Under the lock a socket
that is still there is a dead daemon's and is removed; anything else is somebody's and is not touched.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from memory_daemon.errors import StartupError
from memory_daemon.state_folder import take_lock

SOCKET_MODE = 0o660
FOLDER_MODE = 0o750
PATH_BYTES_MAXIMUM = 107
"""Room for a path in `sockaddr_un`, without its end."""
WAY_OUT = "stop it, or give this one a --policy-socket of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketPlace:
    """A place that is ours to bind to; `lock` is the descriptor that makes it so."""

    path: Path
    lock: int

    @property
    def address(self) -> str:
        """What gRPC binds to: percent-encoded, because gRPC reads it as part of a URI."""
        return f"unix:{quote(os.fsencode(self.path))}"

    def open_to_group(self) -> None:
        """Let the group in, once the socket is there."""
        self.path.chmod(SOCKET_MODE)

    def release(self, *, ours: bool = True) -> None:
        """Give the place up, and remove what is there if it is ours; the lock's file stays: one of a name is enough."""
        if ours:
            self.path.unlink(missing_ok=True)
        os.close(self.lock)


def take_place(path: Path, folder_mode: int = FOLDER_MODE) -> SocketPlace:
    """Make the folder, take the lock and clear the way; raises StartupError with what to do about it."""
    if len(os.fsencode(path)) > PATH_BYTES_MAXIMUM:
        raise StartupError(f"{path} is longer than {PATH_BYTES_MAXIMUM} bytes, the most that a socket's path may have")
    _make_private_folder(path.parent, folder_mode)
    lock = take_lock(path.with_name(f"{path.name}.lock"), WAY_OUT)
    try:
        _clear(path)
    except StartupError:
        os.close(lock)
        raise
    return SocketPlace(path=path, lock=lock)


def _make_private_folder(folder: Path, mode: int) -> None:
    """Make the folder if need be, and refuse one where others could put a socket of theirs."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
        found = folder.stat()
        owners = {found.st_uid, folder.lstat().st_uid}
    except OSError as error:
        raise StartupError(f"{folder} cannot be used for a socket: {error}; choose another --policy-socket") from error
    if owners - {os.getuid(), 0} or found.st_mode & stat.S_IWOTH:
        raise StartupError(
            f"{folder} belongs to another user or is open to all: choose another --policy-socket, or run chmod 0750"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartupError(f"{folder} cannot be written by this user; choose another --policy-socket")


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartupError(f"{path} is there and is no socket: move it away, or choose another --policy-socket")
    path.unlink()
