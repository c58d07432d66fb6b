"""Where the control socket is, and whose it is.

gRPC binds over a live socket without an error, so that the lock on `<socket>.lock` decides, not the bind. The kernel
gives the lock back when its holder dies, however it dies; the lock file itself stays, because removing it would let
two services lock two files of one name. What is not ours is never deleted.
"""

import errno
import fcntl
import os
import re
import socket
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from tts_service.errors import StartupError

SOCKET_MODE = 0o660
DIRECTORY_MODE = 0o750
PRIVATE_MODE = 0o700
PATH_MAXIMUM_BYTES = 107
"""sun_path of sockaddr_un less its terminating zero."""
PROBE_SECONDS = 1.0
"""How long whoever listens at the path may take to accept."""

_SERVICE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def services_folder(environment: Mapping[str, str], *, temporary: Path, user_id: int) -> Path:
    """Return the folder of the control sockets of this user's services."""
    return _root(environment, temporary, user_id) / "services"


def default_control_socket(service_name: str, *, environment: Mapping[str, str] = os.environ) -> Path:
    """Make the folder of the default socket of a service, and return the socket's path.

    Raises StartupError for a name that cannot be a file's, or a folder that is not safely ours.
    """
    if not _SERVICE_NAME.fullmatch(service_name):
        raise StartupError(
            f"service name {service_name!r}: use 1 to 64 letters, digits, '_', '-' and '.', and begin with none of '-.'"
        )
    temporary, user_id = Path(tempfile.gettempdir()), os.getuid()
    root = _root(environment, temporary, user_id)
    try:
        if _runtime(environment) is not None:
            _make(root)
        else:
            _make_private(root, user_id)
        _make(root / "services")
    except OSError as error:
        raise StartupError(
            f"cannot make the folder of the control socket: {error}; is XDG_RUNTIME_DIR right?"
        ) from error
    return root / "services" / f"{service_name}.sock"


class ControlSocket:
    """A path for the control socket, and the lock that makes it ours.

    `take`, bind gRPC to `address`, `opened`; at the end `release`. Each raises StartupError with the way out. With a
    `lent_lock`, the lock is another process's, which holds on to it: its descriptor, inherited.
    """

    def __init__(self, path: Path, *, lent_lock: int | None = None) -> None:
        self._lent_lock = lent_lock
        self._path = path.absolute()
        self._lock_path = self._path.with_name(f"{self._path.name}.lock")
        self._lock_descriptor: int | None = None
        self._inode: int | None = None

    def __repr__(self) -> str:
        return f"<ControlSocket {self._path} {'ours' if self.taken else 'free'}>"

    @property
    def path(self) -> Path:
        """The absolute path."""
        return self._path

    @property
    def taken(self) -> bool:
        """Whether the path is ours."""
        return self._lock_descriptor is not None

    @property
    def lock_descriptor(self) -> int:
        """The descriptor of the lock, while the path is ours, to be lent to a process of ours."""
        assert self._lock_descriptor is not None
        return self._lock_descriptor

    @property
    def there(self) -> bool:
        """Whether what is at the path is the socket that was opened."""
        return self._inode is not None and _inode_of(self._path) == self._inode

    @property
    def address(self) -> str:
        """The path as gRPC takes it: percent-encoded, because gRPC reads it as part of a URI."""
        return f"unix:{quote(os.fsencode(self._path))}"

    def take(self) -> None:
        """Lock the path, and remove the socket of a service that died."""
        assert not self.taken
        self._check_path()
        try:
            self._lock_descriptor = self._lock() if self._lent_lock is None else os.dup(self._lent_lock)
            self._remove_stale()
        except OSError as error:
            self.release()
            raise StartupError(
                f"cannot make the control socket {self._path}: {error.strerror}. Its folder must be writable."
            ) from error
        except StartupError:
            self.release()
            raise

    def make_folder(self) -> None:
        """Make what is missing of the socket's folder, for this user alone; what cannot be made is missed by `take`."""
        folder = self._path.parent
        missing = [level for level in (folder, *folder.parents) if not level.exists()]
        with suppress(OSError):
            for level in reversed(missing):
                level.mkdir(mode=PRIVATE_MODE)

    def opened(self) -> None:
        """Let the group in, now that gRPC has bound the path, and remember which socket is ours."""
        self._path.chmod(SOCKET_MODE)
        self._inode = self._path.lstat().st_ino

    def release(self) -> None:
        """Remove our socket, if it is still there, and give the lock back."""
        if self._lock_descriptor is None:
            return
        if self.there:
            self._path.unlink(missing_ok=True)
        os.close(self._lock_descriptor)
        self._lock_descriptor = self._inode = None

    def _check_path(self) -> None:
        length = len(os.fsencode(self._path))
        if length > PATH_MAXIMUM_BYTES:
            raise StartupError(
                f"control socket path {self._path} has {length} bytes, the system takes {PATH_MAXIMUM_BYTES}: "
                "use a shorter one"
            )
        if not self._path.parent.is_dir():
            raise StartupError(f"control socket {self._path}: there is no folder {self._path.parent}; make it first")

    def _lock(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self._lock_path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        except BlockingIOError as error:
            holder = _pid_in(descriptor)
            os.close(descriptor)
            raise StartupError(
                f"control socket {self._path} is in use by {holder}: stop it, or give this service another name or path"
            ) from error
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _remove_stale(self) -> None:
        try:
            mode = self._path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise StartupError(f"{self._path} is not a socket, so it is left alone: move it away, or use another path")
        if _is_listened_at(self._path):
            raise StartupError(f"another program listens at {self._path}: stop it, or use another path")
        self._path.unlink()


def _root(environment: Mapping[str, str], temporary: Path, user_id: int) -> Path:
    runtime = _runtime(environment)
    return temporary / f"greenroom-{user_id}" if runtime is None else runtime / "greenroom"


def _runtime(environment: Mapping[str, str]) -> Path | None:
    """Return XDG_RUNTIME_DIR; its specification wants a relative path ignored, so that no two programs differ."""
    runtime = Path(environment.get("XDG_RUNTIME_DIR", ""))
    return runtime if runtime.is_absolute() else None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=DIRECTORY_MODE)
    except FileExistsError:
        return
    # What the umask took away.
    folder.chmod(DIRECTORY_MODE)


def _make_private(folder: Path, user_id: int) -> None:
    """Make a folder that others cannot enter, in a place where everybody can write; refuse one laid out by others."""
    with suppress(FileExistsError):
        folder.mkdir(mode=PRIVATE_MODE)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user_id or stat.S_IMODE(found.st_mode) & 0o077:
        raise StartupError(
            f"{folder} must be a folder of this user alone (mode 0700, no link): remove it, or set XDG_RUNTIME_DIR"
        )


def _inode_of(path: Path) -> int | None:
    try:
        return path.lstat().st_ino
    except OSError:
        return None


def _pid_in(descriptor: int) -> str:
    written = os.pread(descriptor, 32, 0).strip()
    return f"process {int(written)}" if written.isdigit() else "another process"


def _is_listened_at(path: Path) -> bool:
    """Tell whether anybody accepts; a full backlog counts as somebody."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_SECONDS)
        code = probe.connect_ex(os.fspath(path))
    return code not in {errno.ECONNREFUSED, errno.ENOENT}
