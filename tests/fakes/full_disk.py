"""A disk on which nothing, or only so much, can be written any more."""

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from memory_daemon import state_folder

LIMITED = """
import os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
os.execv(sys.argv[2], sys.argv[2:])
"""


def with_files_up_to(file_bytes_maximum: int, command: Sequence[str]) -> list[str]:
    """Return a command that runs `command` where no file grows larger than this.

    The limit is set by a process of its own: a function between fork and exec would have gRPC's fork handlers run in
    the child, which breaks when other threads are inside gRPC.
    """
    return [sys.executable, "-c", LIMITED, str(file_bytes_maximum), *command]


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be written any more."""

    def full(path: Path, data: bytes) -> None:
        del data
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(state_folder, "_write_through", full)


class FullDisk:
    """A disk on which `free_bytes` more bytes can be written; what does not fit is torn, then fails."""

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes
        self._write = os.write

    def __call__(self, descriptor: int, data: bytes) -> int:
        """Write what fits, as the kernel does."""
        fits = min(len(data), self.free_bytes)
        if not fits:
            raise OSError(28, "No space left on device")
        self.free_bytes -= fits
        return self._write(descriptor, data[:fits])
