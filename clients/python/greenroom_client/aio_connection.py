"""A channel under asyncio: connecting with a deadline, trying again where the status says so."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc.aio

from greenroom.tts.v1 import tts_pb2_grpc
from greenroom_client.errors import ServiceError, SessionClosedError
from greenroom_client.options import ClientOptions, client_version
from greenroom_client.retries import RetryPolicy, delay_seconds
from greenroom_client.statuses import from_rpc_error
from greenroom_client.targets import channel_options, parse_target

if TYPE_CHECKING:
    from greenroom.tts.v1.tts_pb2_grpc import TextToSpeechServiceAsyncStub

T = TypeVar("T")


class Connection:
    """One channel. Opened inside the event loop that uses it, because grpc.aio ties a channel to its loop."""

    def __init__(self, target: str, options: ClientOptions) -> None:
        self.target = parse_target(target)
        self.options = options
        self._channel: grpc.aio.Channel | None = None

    def open(self) -> None:
        """Make the channel; nothing is dialled yet."""
        if self._channel is None:
            self._channel = self._new_channel()

    def _new_channel(self) -> grpc.aio.Channel:
        arguments = channel_options(
            self.target, connect_timeout_seconds=self.options.connect_timeout_seconds, version=client_version()
        )
        if self.options.credentials is None:
            return grpc.aio.insecure_channel(self.target, arguments)
        return grpc.aio.secure_channel(self.target, self.options.credentials, arguments)

    async def close(self) -> None:
        """Cancel every RPC and close the channel."""
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel. Raises SessionClosedError outside the client's block."""
        if self._channel is None:
            raise SessionClosedError("the client is not open: use `async with Client(...)`")
        return self._channel

    @property
    def stub(self) -> "TextToSpeechServiceAsyncStub":
        """The speech service's methods."""
        return cast("TextToSpeechServiceAsyncStub", tts_pb2_grpc.TextToSpeechServiceStub(self.channel))

    async def ask(self, method: Callable[..., Awaitable[T]], request: Any) -> T:
        """Carry out a unary call, all attempts within `answer_timeout_seconds`."""

        async def attempt(left_seconds: float) -> T:
            try:
                return await method(request, timeout=left_seconds, metadata=self.options.metadata_pairs)
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from error

        return await self.retrying(attempt, timeout_seconds=self.options.answer_timeout_seconds)

    async def retrying(
        self,
        attempt: Callable[[float], Awaitable[T]],
        *,
        timeout_seconds: float,
        policy: RetryPolicy | None = None,
    ) -> T:
        """Return what an attempt returns, given the seconds that are left; try again where its error says so."""
        deadline = time.monotonic() + timeout_seconds
        for number in count(1):
            try:
                return await attempt(deadline - time.monotonic())
            except ServiceError as error:
                jitter = random.random()  # noqa: S311 - Spreads clients; no secret.
                pause_seconds = delay_seconds(policy or self.options.retry, error, attempt=number, jitter=jitter)
                if pause_seconds is None or time.monotonic() + pause_seconds >= deadline:
                    raise
            await asyncio.sleep(pause_seconds)
        raise AssertionError("attempts are counted without end")

    def __repr__(self) -> str:
        state = "closed" if self._channel is None else self._channel.get_state().name.lower()
        return f"<Connection {self.target} {state}>"
