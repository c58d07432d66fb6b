"""Uploads of gRPC's blocking API: a first message, then bytes from wherever they come, then the answer."""

from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import grpc

from greenroom_client.statuses import from_rpc_error
from greenroom_client.uploads import PIECE_BYTES, pieces_of_bytes

T = TypeVar("T")

AudioSource = str | PathLike[str] | bytes | Iterable[bytes]
"""A file's path, a whole file's bytes, or its bytes as they come."""


def uploaded(
    method: Callable[[Iterator[Any]], T], first: Any, source: AudioSource, message: Callable[[bytes], Any]
) -> T:
    """Send the first message, then all bytes of a source, each piece made a message; return the answer.

    Raises OSError (files) or the service's answer, which may come before the end.
    """
    upload = _Upload(first, source, message)
    try:
        answer = method(iter(upload))
    except grpc.RpcError as error:
        upload.raise_failure()
        raise from_rpc_error(error) from error
    upload.raise_failure()
    return answer


class _Upload:
    """The messages of an upload. gRPC draws them in its own thread and hides what they raise; `failure` keeps it."""

    def __init__(self, first: Any, source: AudioSource, message: Callable[[bytes], Any]) -> None:
        self._first = first
        self._source = source
        self._message = message
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[Any]:
        try:
            yield self._first
            for piece in _pieces(self._source):
                yield self._message(piece)
        except Exception as error:  # noqa: BLE001 - It is raised by whoever waits for the answer.
            self.failure = error

    def raise_failure(self) -> None:
        """Raise what kept the upload from being whole."""
        if self.failure is not None:
            raise self.failure

    def __repr__(self) -> str:
        return f"<_Upload failure={self.failure!r}>"


def _pieces(source: AudioSource) -> Iterator[bytes]:
    if isinstance(source, str | PathLike):
        with Path(source).open("rb") as file:
            yield from iter(lambda: file.read(PIECE_BYTES), b"")
    elif isinstance(source, bytes):
        yield from pieces_of_bytes(source)
    else:
        yield from source
