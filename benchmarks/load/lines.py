"""Connections to the service under load: some for all well-behaved sessions, one of its own for whoever misbehaves.

gRPC shares a connection between channels of the same address unless it is told not to, and a connection has one window
for all its streams: a listener who does not read would hold up the others.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

from greenroom.tts.v1 import tts_pb2_grpc as pb_grpc
from greenroom_client.errors import ServiceError

OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 4 << 20),
)


LOST: Final = "status lost in gRPC"
"""INTERNAL without a reason: a message found its call ended, and gRPC's client hid what the service said."""


def reason_of(error: ServiceError) -> str:
    """Return why a call failed: the service's reason, else the transport's code."""
    if error.reason:
        return error.reason
    return LOST if error.code == "INTERNAL" else error.code


class Lines:
    """Stubs over some connections, given out by turns."""

    def __init__(self, address: str, channels: list[Any]) -> None:
        self._address = address
        self._stubs = [pb_grpc.TextToSpeechServiceStub(channel) for channel in channels]

    def __repr__(self) -> str:
        return f"<Lines {self._address} | {len(self._stubs)} connections>"

    def stub(self, session: int) -> Any:
        """Return the stub of a session."""
        return self._stubs[session % len(self._stubs)]


@contextlib.asynccontextmanager
async def lines_to(address: str, *, connections: int) -> AsyncIterator[Lines]:
    """Open so many connections."""
    async with contextlib.AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(address, options=OPTIONS))
            for _ in range(connections)
        ]
        yield Lines(address, channels)


@contextlib.asynccontextmanager
async def own_line(address: str) -> AsyncIterator[Any]:
    """Give a stub on a connection that nobody shares."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        yield pb_grpc.TextToSpeechServiceStub(channel)
