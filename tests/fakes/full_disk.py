"""A disk on which nothing, or only so much, can be written any more."""

import errno
import os
from pathlib import Path

import pytest

from memory_daemon import state_folder


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
