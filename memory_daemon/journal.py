"""Writes the journal: one line a record, rotated by size, never in the way.

A record that cannot be written (disk full, folder gone) is counted, said once in the log, and its torn beginning is cut
off again; the daemon goes on, and the first record that can be written afterwards is preceded by how many are lost.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from memory_daemon.journal_records import Record, RecordsLost, line_of

NAME = "journal"
SUFFIX = ".jsonl"

_log = structlog.get_logger(__name__)


class Journal:
    """The journal in a folder: `journal.jsonl` grows, `journal.1.jsonl` is the newest of the `files` old ones."""

    def __init__(self, *, folder: Path, size_maximum_bytes: int, files: int, unix_clock: Callable[[], float]) -> None:
        assert files >= 1
        self._folder = folder
        self._size_maximum_bytes = size_maximum_bytes
        self._files = files
        self._unix_clock = unix_clock
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._size_bytes = 0
        self._lost = 0
        self._lost_reason = ""

    def __repr__(self) -> str:
        return f"<Journal {self._path()} | {self._size_bytes} bytes | {self._lost} lost>"

    @property
    def lost(self) -> int:
        """Records that could not be written, since the last one that could."""
        return self._lost

    def write(self, record: Record) -> None:
        """Append a record; never fails."""
        unix_seconds = self._unix_clock()
        with self._lock:
            try:
                self._write_lost(unix_seconds)
                self._append(line_of(record, unix_seconds))
            except OSError as error:
                self._lose(error)

    def close(self) -> None:
        """Close the file; a later record opens it again."""
        with self._lock:
            self._close()

    def _write_lost(self, unix_seconds: float) -> None:
        if self._lost:
            self._append(line_of(RecordsLost(count=self._lost, reason=self._lost_reason), unix_seconds))
            _log.info("journal_resumed", lost=self._lost)
            self._lost = 0

    def _append(self, line: bytes) -> None:
        descriptor = self._open()
        if self._size_bytes and self._size_bytes + len(line) > self._size_maximum_bytes:
            self._rotate()
            descriptor = self._open()
        written = 0
        try:
            written = os.write(descriptor, line)
        finally:
            if written < len(line):
                # A torn line would spoil the one after it; cutting works on a full disk too.
                os.ftruncate(descriptor, self._size_bytes)
        if written < len(line):
            raise OSError(f"only {written} of {len(line)} bytes were written")
        self._size_bytes += written

    def _open(self) -> int:
        if self._descriptor is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._path(), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._descriptor = descriptor
            self._size_bytes = _end_last_line(descriptor)
        return self._descriptor

    def _rotate(self) -> None:
        self._close()
        for number in range(self._files - 1, -1, -1):
            if self._path(number).exists():
                self._path(number).replace(self._path(number + 1))

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _lose(self, error: OSError) -> None:
        if not self._lost:
            _log.error("journal_not_written", path=str(self._path()), error=str(error))
        self._lost += 1
        self._lost_reason = str(error)
        self._close()

    def _path(self, number: int = 0) -> Path:
        return journal_path(self._folder, number)


def journal_path(folder: Path, number: int = 0) -> Path:
    """Return the file that grows (0), or an old one, counted from the newest (1)."""
    return folder / (f"{NAME}.{number}{SUFFIX}" if number else f"{NAME}{SUFFIX}")


def journal_files(folder: Path) -> list[Path]:
    """Return the journal's files, oldest first."""
    old = [path for path in folder.glob(f"{NAME}.*{SUFFIX}") if _number(path) is not None]
    newest = journal_path(folder)
    return [*sorted(old, key=lambda path: -(_number(path) or 0)), *([newest] if newest.exists() else [])]


def _number(path: Path) -> int | None:
    middle = path.name.removeprefix(f"{NAME}.").removesuffix(SUFFIX)
    return int(middle) if middle.isdigit() else None


def _end_last_line(descriptor: int) -> int:
    """End a line that a crash cut off, so that the next one begins on its own; returns the file's size."""
    size_bytes = os.fstat(descriptor).st_size
    if size_bytes and os.pread(descriptor, 1, size_bytes - 1) != b"\n":
        size_bytes += os.write(descriptor, b"\n")
    return size_bytes
