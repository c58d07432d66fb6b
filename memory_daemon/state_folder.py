"""Files that outlive the daemon: its lock, its name, and what is kept so that a crash or a full disk loses nothing.

A kept file is replaced as a whole, with the one before it as backup. One that cannot be understood is put aside, never
overwritten: it may be all that is left of an operator's work.
"""

import contextlib
import fcntl
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from memory_daemon.errors import StartupError

LOCK = "daemon.lock"
HOLDER = "holder-id"
HOLDER_ID_CHARACTERS_MAXIMUM = 128

Value = TypeVar("Value")

_log = structlog.get_logger(__name__)


def make_folder(folder: Path, mode: int) -> None:
    """Make a folder and those above it; raises StartupError if it cannot be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
    except OSError as error:
        raise StartupError(f"{folder} cannot be made: {error}; choose another with --state-dir") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartupError(f"{folder} cannot be written by this user; choose another folder, or mend its mode")


def take_lock(path: Path, way_out: str) -> int:
    """Lock a file for the life of the process and return its descriptor; raises StartupError if another has it.

    The file stays when the lock ends: removing it would let two holders lock two files of one name.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartupError(f"{path} cannot be opened: {error}; {way_out}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
        os.close(descriptor)
        by = f"process {holder}" if holder else "another process"
        raise StartupError(f"{path} is locked by {by}: another memory-daemon runs here; {way_out}") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def holder_id(folder: Path) -> str:
    """Return the daemon's lasting name, made at its first start; raises StartupError if it cannot be kept."""
    kept = KeptFile(folder / HOLDER)
    loaded = kept.load(_parse_holder_id)
    if loaded.value is not None:
        return loaded.value
    made = f"memory-daemon-{uuid.uuid4()}"
    if loaded.trouble:
        _log.error("holder_id_lost", trouble=loaded.trouble, made=made)
    try:
        kept.save(f"{made}\n".encode())
    except OSError as error:
        raise StartupError(f"{folder / HOLDER} cannot be written: {error}") from error
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded(Generic[Value]):
    """What a kept file held, None for nothing; `trouble` is to be told loudly, empty for none."""

    value: Value | None = None
    trouble: str = ""


class KeptFile:
    """A small file that is replaced as a whole and backed up by the one before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._backup = path.with_name(f"{path.name}.last")
        self._corrupt = path.with_name(f"{path.name}.corrupt")

    def __repr__(self) -> str:
        return f"<KeptFile {self._path}>"

    def load(self, parse: Callable[[bytes], Value]) -> Loaded[Value]:
        """Return what the file holds, else what its backup holds; `parse` raises ValueError for what it is not."""
        found = self._parsed(self._path, parse)
        if found.value is not None:
            return found
        backup = self._parsed(self._backup, parse)
        if not found.trouble:
            return backup if backup.value is not None else Loaded()
        aside = self._put_aside()
        rest = "the last good one is used" if backup.value is not None else "the defaults are used"
        return Loaded(value=backup.value, trouble=f"{found.trouble}; {aside}; {rest}")

    def save(self, data: bytes) -> None:
        """Replace the content as a whole; raises OSError, and then the old content stands."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            _write_through(fresh, data)
            self._back_up()
            fresh.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise
        _sync_folder(self._path.parent)

    def _back_up(self) -> None:
        """Keep today's content as backup without a moment in which there is neither."""
        if self._path.exists():
            spare = self._path.with_name(f"{self._path.name}.spare")
            _write_through(spare, self._path.read_bytes())
            spare.replace(self._backup)

    def _parsed(self, path: Path, parse: Callable[[bytes], Value]) -> Loaded[Value]:
        try:
            return Loaded(value=parse(path.read_bytes()))
        except FileNotFoundError:
            return Loaded()
        except (OSError, ValueError) as error:
            return Loaded(trouble=f"{path} cannot be used: {error}")

    def _put_aside(self) -> str:
        try:
            self._path.replace(self._corrupt)
        except OSError as error:
            return f"it could not be put aside ({error})"
        return f"it was put aside as {self._corrupt.name}"


def _parse_holder_id(data: bytes) -> str:
    text = data.decode("ascii").strip()
    if not text or len(text) > HOLDER_ID_CHARACTERS_MAXIMUM or not text.isprintable():
        raise ValueError("it holds no name of 1 to 128 printable ASCII characters")
    return text


def _write_through(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
