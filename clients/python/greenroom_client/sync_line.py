"""One session's RPC for threads: carries messages both ways and wakes whoever waits. Decides nothing.

Built on gRPC's blocking API, not on an event loop in a hidden thread: several event loops in one process share gRPC's
one poller and fill the log with BlockingIOError, a chunk would cross two threads more, and Ctrl-C interrupts a wait
here. It costs two threads a session: one of ours that reads, one of gRPC's that sends.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from greenroom.tts.v1 import tts_pb2
from greenroom_client.config import SessionConfig
from greenroom_client.conversation import Conversation
from greenroom_client.errors import GreenroomError, SessionClosedError, no_answer
from greenroom_client.events import SessionEvent, SessionStarted
from greenroom_client.requests import Request, cancel_request, config_request
from greenroom_client.responses import session_event
from greenroom_client.statuses import from_rpc_error

OUTGOING_MAX = 64
"""Messages that wait to be sent; a writer waits beyond that, a cancel does not."""
CLOSE_SECONDS = 2.0
"""How long a quiet session may take to end in good order before it is cancelled."""
LOOK_SECONDS = 1.0
"""A wait looks this often whether the service has fallen silent for good."""

OnEvent = Callable[[SessionEvent], None]


class Line:
    """The shell around a conversation.

    Invariants: the conversation is touched only under `changed`; after `close` its RPC and its thread are over.
    """

    def __init__(self, conversation: Conversation, *, on_event: OnEvent | None, clock: Callable[[], float]) -> None:
        self.conversation = conversation
        self.clock = clock
        self.changed = threading.Condition()
        self._on_event = on_event
        self._outgoing: deque[Request] = deque()
        self._waiting = 0
        self._half_closed = False
        self._failure: GreenroomError | None = None
        self._call: Any = None
        self._reader: threading.Thread | None = None

    # --- opening and closing ------------------------------------------------------------------------------------

    def open(
        self, begin: Callable[[Iterator[Request]], Any], config: SessionConfig, *, timeout_seconds: float
    ) -> SessionStarted:
        """Begin the RPC, send the config and return the service's confirmation. Raises what it answered instead."""
        self._outgoing.append(config_request(config))
        self._call = begin(iter(self._next_request, None))
        self._reader = threading.Thread(target=self._read_all, name="greenroom-session", daemon=True)
        self._reader.start()
        try:
            return self._confirmation(timeout_seconds)
        except BaseException:
            self.close()
            raise

    def _confirmation(self, timeout_seconds: float) -> SessionStarted:
        conversation = self.conversation
        with self.changed:
            if not self.until(lambda: conversation.started is not None or conversation.over, timeout_seconds):
                raise no_answer(f"the service did not open the session within {timeout_seconds:.3g} s")
            return conversation.confirmation()

    def close(self) -> None:
        """End the session: in good order if nothing is open, else at once. Does nothing the second time."""
        with self.changed:
            in_order = self.conversation.is_quiet
            self._half_closed = True
            self.changed.notify_all()
        try:
            if in_order:
                self._join(CLOSE_SECONDS)
        finally:
            self._end(SessionClosedError("the session was closed"))
            if self._call is not None:
                self._call.cancel()
            self._join(None)

    def _join(self, timeout_seconds: float | None) -> None:
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join(timeout_seconds)

    # --- for sessions and utterances, under `changed` -----------------------------------------------------------

    def until(self, ready: Callable[[], bool], timeout_seconds: float | None = None) -> bool:
        """Wait until `ready`, which is asked whenever something has come; False if time ran out before."""
        deadline = None if timeout_seconds is None else self.clock() + timeout_seconds
        self._waiting += 1
        self.changed.notify_all()
        try:
            while not ready():
                left_seconds = LOOK_SECONDS if deadline is None else deadline - self.clock()
                if left_seconds <= 0:
                    return False
                self.changed.wait(min(left_seconds, self._look_seconds()))
                self._end_if_stalled()
        finally:
            self._waiting -= 1
        return True

    def room(self) -> None:
        """Wait until another message may be queued. Raises what ended the session."""
        while len(self._outgoing) >= OUTGOING_MAX and not self.conversation.over:
            self.changed.wait(LOOK_SECONDS)
        self.conversation.check_open()

    def send(self, request: Request) -> None:
        """Queue a message, whether or not there is room."""
        self._outgoing.append(request)
        self.changed.notify_all()

    def _look_seconds(self) -> float:
        return min(LOOK_SECONDS, self.conversation.limits.stall_seconds / 4)

    def _end_if_stalled(self) -> None:
        if self._failure is None and self.conversation.is_stalled(self.clock()):
            message = f"the service has said nothing for {self.conversation.limits.stall_seconds:.3g} s"
            self._failure = no_answer(message)
            self._call.cancel()

    # --- the RPC ------------------------------------------------------------------------------------------------

    def _next_request(self) -> Request | None:
        """Return the next message to send; None ends the sending. Called by gRPC in a thread of its own."""
        with self.changed:
            self.changed.wait_for(lambda: self._outgoing or self._half_closed or self.conversation.over)
            if not self._outgoing or self.conversation.over:
                return None
            self.changed.notify_all()
            return self._outgoing.popleft()

    def _read_all(self) -> None:
        error: GreenroomError = SessionClosedError("the service ended the session")
        try:
            while (response := self._read()) is not None:
                self._deliver(response)
        except grpc.RpcError as rpc_error:
            error = self._failure or from_rpc_error(rpc_error)
        except Exception as callback_error:  # noqa: BLE001 - A callback may raise anything; the session ends for it.
            error = SessionClosedError(f"on_event raised {callback_error!r}")
            error.__cause__ = callback_error
            self._call.cancel()
        finally:
            self._end(error)

    def _read(self) -> tts_pb2.StreamingSynthesizeResponse | None:
        with self.changed:
            conversation = self.conversation
            self.changed.wait_for(lambda: conversation.over or conversation.may_read(waiting=self._waiting))
            conversation.reading_since = self.clock()
        try:
            return next(self._call, None)
        finally:
            with self.changed:
                conversation.reading_since = None

    def _deliver(self, response: tts_pb2.StreamingSynthesizeResponse) -> None:
        event = session_event(response)
        if event is None:
            return
        with self.changed:
            is_stale = self.conversation.is_stale(event)
            for utterance_id in self.conversation.receive(event):
                self.send(cancel_request(utterance_id, None))
            self.changed.notify_all()
        if self._on_event is not None and isinstance(event, SessionEvent) and not is_stale:
            self._on_event(event)

    def _end(self, error: GreenroomError) -> None:
        with self.changed:
            self.conversation.finish(error)
            self.changed.notify_all()

    def __repr__(self) -> str:
        return f"<Line {self.conversation!r} | {len(self._outgoing)} to send | {self._waiting} waiting>"
