"""Frames on a stream of bytes: a length, a sum, and what they belong to.

A process that dies in the middle of a write leaves a frame without its end. That is an end like any other; a sum that
is wrong is not, and neither is a length beyond the bound: then nothing of what follows can be trusted.
"""

import asyncio
import struct
import zlib
from typing import Final

_HEADER: Final = struct.Struct("<II")

MOST_BYTES: Final = 64 << 20
"""Of one frame. What is written together is far less: uploads go in pieces of a quarter of a MiB."""


class BadFrameError(Exception):
    """What came is no frame; the stream is worth nothing any more."""


def framed(data: bytes) -> bytes:
    """Return bytes as a frame."""
    assert len(data) <= MOST_BYTES
    return _HEADER.pack(len(data), zlib.crc32(data)) + data


async def next_frame(reader: asyncio.StreamReader) -> bytes | None:
    """Wait for the next frame and return its bytes; None when the stream has ended. Raises BadFrameError."""
    try:
        count, wanted = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        if count > MOST_BYTES:
            raise BadFrameError(f"a frame says that it has {count} bytes")
        data = await reader.readexactly(count)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    if zlib.crc32(data) != wanted:
        raise BadFrameError(f"a frame of {count} bytes is damaged")
    return data
