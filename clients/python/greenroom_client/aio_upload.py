"""Uploads under asyncio: a first message, then bytes from wherever they come, then the answer."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from os import PathLike
from pathlib import Path
from typing import Any

import grpc.aio

from greenroom_client.aio_status import CallStatus
from greenroom_client.uploads import PIECE_BYTES, AudioSource, pieces_of_bytes


async def uploaded(call: Any, first: Any, source: AudioSource, message: Callable[[bytes], Any]) -> Any:
    """Send the first message, then all bytes of a source, each piece made a message; return the answer.

    Raises OSError (files) or the service's answer, which may come before the end.
    """
    status = CallStatus()
    status.watch(call)
    try:
        await _write(call, first, source, message)
        return await call
    except grpc.aio.AioRpcError as error:
        raise await status.error(error) from error
    finally:
        call.cancel()


async def _write(call: Any, first: Any, source: AudioSource, message: Callable[[bytes], Any]) -> None:
    """Write it all, unless the service has answered before the end."""
    try:
        await call.write(first)
        async for piece in _pieces(source):
            await call.write(message(piece))
        await call.done_writing()
    except asyncio.InvalidStateError:
        pass  # The RPC has ended; its status is told by whoever awaits the call.


async def _pieces(source: AudioSource) -> AsyncIterator[bytes]:
    if isinstance(source, str | PathLike):
        async for piece in _pieces_of_file(Path(source)):
            yield piece
    elif isinstance(source, bytes):
        for piece in pieces_of_bytes(source):
            yield piece
    elif isinstance(source, AsyncIterable):
        async for piece in source:
            yield piece
    else:
        for piece in source:
            yield piece


async def _pieces_of_file(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece
    finally:
        file.close()
