"""Asks one service for what its allocator keeps of the device, beside the stream that governs it; waits for nobody."""

from collections.abc import Callable
from typing import Any

import grpc
import structlog

from greenroom.memory.v1 import residency_pb2
from greenroom.memory.v1.residency_pb2_grpc import ResidencyServiceStub
from memory_daemon.residency_messages import trim_answer_of
from memory_daemon.statuses import end_of_call
from memory_daemon.usage import TrimAnswer

TRIM_SECONDS = 5.0
"""As long as a service waits for its own moves to end; an answer that comes late still says what is left."""

_log = structlog.get_logger(__name__)


class TrimErrand:
    """The newest answer of one service under one reign."""

    def __init__(self, *, channel: grpc.Channel, requested_by: str, on_answer: Callable[[], None]) -> None:
        self._stub = ResidencyServiceStub(channel)
        self._requested_by = requested_by
        self._on_answer = on_answer
        self._answer: TrimAnswer | None = None

    def __repr__(self) -> str:
        return f"<TrimErrand {'nothing answered' if self._answer is None else self._answer.number}>"

    @property
    def answer(self) -> TrimAnswer | None:
        """What the service answered last."""
        return self._answer

    def ask(self, number: int) -> None:
        """Ask once; the answer comes under that number, whatever it is."""
        request = residency_pb2.TrimMemoryRequest(requested_by=self._requested_by[:128])
        try:
            call = self._stub.TrimMemory.future(request, timeout=TRIM_SECONDS)
        except ValueError:
            # The channel was closed a moment ago: a service that is gone keeps nothing.
            return
        call.add_done_callback(lambda done: self._hear(number, done))

    def _hear(self, number: int, done: Any) -> None:
        """Take the answer in, in a thread of gRPC's."""
        try:
            self._answer = trim_answer_of(number, done.result())
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            code, reason, words = end_of_call(error)
            self._answer = TrimAnswer(number=number, obstacle=reason or code or words)
            _log.warning("trim_failed", reason=reason or code, error=words)
        self._on_answer()
