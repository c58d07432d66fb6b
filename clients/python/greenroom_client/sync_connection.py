"""A channel of gRPC's blocking API: connecting with a deadline, trying again where the status says so."""

import random
import time
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar

import grpc

from greenroom.tts.v1 import tts_pb2_grpc
from greenroom_client.errors import ServiceError, SessionClosedError
from greenroom_client.options import ClientOptions, client_version
from greenroom_client.retries import RetryPolicy, delay_seconds
from greenroom_client.statuses import from_rpc_error
from greenroom_client.targets import channel_options, parse_target

T = TypeVar("T")


class Connection:
    """One channel, safe to share between threads."""

    def __init__(self, target: str, options: ClientOptions) -> None:
        self.target = parse_target(target)
        self.options = options
        self._channel: grpc.Channel | None = None

    def open(self) -> None:
        """Make the channel; nothing is dialled yet."""
        if self._channel is None:
            self._channel = self._new_channel()

    def _new_channel(self) -> grpc.Channel:
        arguments = channel_options(
            self.target, connect_timeout_seconds=self.options.connect_timeout_seconds, version=client_version()
        )
        if self.options.credentials is None:
            return grpc.insecure_channel(self.target, arguments)
        return grpc.secure_channel(self.target, self.options.credentials, arguments)

    def close(self) -> None:
        """Cancel every RPC and close the channel."""
        if self._channel is not None:
            channel, self._channel = self._channel, None
            channel.close()

    @property
    def channel(self) -> grpc.Channel:
        """The channel. Raises SessionClosedError outside the client's block."""
        if self._channel is None:
            raise SessionClosedError("the client is not open: use `with Client(...)`")
        return self._channel

    @property
    def stub(self) -> tts_pb2_grpc.TextToSpeechServiceStub:
        """The speech service's methods."""
        return tts_pb2_grpc.TextToSpeechServiceStub(self.channel)

    def ask(self, method: Callable[..., T], request: Any) -> T:
        """Carry out a unary call, all attempts within `answer_timeout_seconds`."""

        def attempt(left_seconds: float) -> T:
            try:
                return method(request, timeout=left_seconds, metadata=self.options.metadata_pairs)
            except grpc.RpcError as error:
                raise from_rpc_error(error) from error

        return self.retrying(attempt, timeout_seconds=self.options.answer_timeout_seconds)

    def retrying(
        self, attempt: Callable[[float], T], *, timeout_seconds: float, policy: RetryPolicy | None = None
    ) -> T:
        """Return what an attempt returns, given the seconds that are left; try again where its error says so."""
        deadline = time.monotonic() + timeout_seconds
        for number in count(1):
            try:
                return attempt(deadline - time.monotonic())
            except ServiceError as error:
                jitter = random.random()  # noqa: S311 - Spreads clients; no secret.
                pause_seconds = delay_seconds(policy or self.options.retry, error, attempt=number, jitter=jitter)
                if pause_seconds is None or time.monotonic() + pause_seconds >= deadline:
                    raise
            time.sleep(pause_seconds)
        raise AssertionError("attempts are counted without end")

    def __repr__(self) -> str:
        return f"<Connection {self.target} {'closed' if self._channel is None else 'open'}>"
