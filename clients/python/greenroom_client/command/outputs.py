"""Where audio is written. Each output is a block: left in good order it is complete, left by an error it is gone."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from greenroom_client.command.problems import OutputError, UsageError
from greenroom_client.events import AudioChunk

Header = Callable[[int | None], bytes]
"""Returns the bytes before so much data; None is data without a known end."""


class Output(Protocol):
    """What speech is written to."""

    @property
    def written_bytes(self) -> int:
        """Bytes written, any header included."""
        ...

    @property
    def heard_samples(self) -> int | None:
        """Samples that somebody has heard; None where nobody can know."""
        ...

    def write(self, chunk: AudioChunk) -> None:
        """Write the next audio. Raises OutputError."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FileOutput:
    """A new file. It is written beside its place and takes its name when it is complete.

    Without `force` a file that has appeared under the name meanwhile is left alone.
    """

    def __init__(self, path: Path, *, header: Header | None, force: bool) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._header = header
        self._force = force
        self._descriptor = -1
        self._data_bytes = 0

    @property
    def written_bytes(self) -> int:
        """Bytes written, any header included."""
        return self._data_bytes + len(self._header(None) if self._header else b"")

    @property
    def heard_samples(self) -> int | None:
        """Nobody hears a file being written."""
        return None

    def write(self, chunk: AudioChunk) -> None:
        """Write the next audio. Raises OutputError."""
        self._data_bytes += len(chunk.data)
        self._write(chunk.data)

    def _write(self, data: bytes) -> None:
        try:
            write_whole(self._descriptor, data)
        except OSError as error:
            raise _cannot_write(self._path, error) from error

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            raise _cannot_write(self._path, error) from error
        if self._header is not None:
            self._write(self._header(None))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._complete()
        finally:
            os.close(self._descriptor)
            self._part.unlink(missing_ok=True)

    def _complete(self) -> None:
        try:
            if self._header is not None:
                os.pwrite(self._descriptor, self._header(self._data_bytes), 0)
            os.fsync(self._descriptor)
            if self._force:
                self._part.replace(self._path)
            else:
                _rename_without_overwriting(self._part, self._path)
        except FileExistsError:
            raise UsageError(f"{self._path} has appeared meanwhile", hint="Overwrite it with --force.") from None
        except OSError as error:
            raise _cannot_write(self._path, error) from error

    def __repr__(self) -> str:
        return f"<FileOutput {self._path} {self.written_bytes} bytes>"


class StreamOutput:
    """Standard output, a pipe or a device file: every chunk leaves at once, and lengths stay unknown."""

    def __init__(self, path: Path | None, *, header: Header | None) -> None:
        self._path = path
        self._header = header
        self._descriptor = -1
        self._written_bytes = 0

    @property
    def written_bytes(self) -> int:
        """Bytes written, any header included."""
        return self._written_bytes

    @property
    def heard_samples(self) -> int | None:
        """Nobody knows what the reader does with it."""
        return None

    def write(self, chunk: AudioChunk) -> None:
        """Write the next audio. Raises OutputError."""
        self._write(chunk.data)

    def _write(self, data: bytes) -> None:
        try:
            write_whole(self._descriptor, data)
        except BrokenPipeError as error:
            raise OutputError(f"{self._name} was closed by its reader") from error
        except OSError as error:
            raise _cannot_write(self._name, error) from error
        self._written_bytes += len(data)

    @property
    def _name(self) -> str:
        return "standard output" if self._path is None else str(self._path)

    def __enter__(self) -> Self:
        try:
            # A copy of our own: closing it tells errors that the interpreter would print at its exit otherwise.
            self._descriptor = os.dup(1) if self._path is None else os.open(self._path, os.O_WRONLY)
        except OSError as error:
            raise _cannot_write(self._name, error) from error
        if self._header is not None:
            self._write(self._header(None))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def __repr__(self) -> str:
        return f"<StreamOutput {self._name} {self._written_bytes} bytes>"


def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of `data`, in as many writes as it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _rename_without_overwriting(part: Path, path: Path) -> None:
    """Give a file its name. Raises FileExistsError if the name is taken."""
    try:
        path.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links, where nothing better than looking first is to be had.
        if path.exists():
            raise FileExistsError(path) from None
        part.replace(path)


def _cannot_write(name: Path | str, error: OSError) -> OutputError:
    return OutputError(f"cannot write {name}: {error.strerror or error}")
