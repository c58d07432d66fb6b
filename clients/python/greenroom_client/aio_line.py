"""One session's RPC under asyncio: carries messages both ways and wakes whoever waits. Decides nothing.

Why tasks of its own: cancelling a task inside grpc.aio's `read` or `write` cancels the whole RPC, so that a timeout
around the next audio chunk would kill the session. Here callers wait for futures, and two tasks touch the RPC.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import grpc.aio

from greenroom.tts.v1 import tts_pb2
from greenroom_client.aio_status import CallStatus
from greenroom_client.config import SessionConfig
from greenroom_client.conversation import Conversation
from greenroom_client.errors import GreenroomError, SessionClosedError, no_answer
from greenroom_client.events import SessionEvent, SessionStarted
from greenroom_client.requests import Request, cancel_request, config_request
from greenroom_client.responses import session_event
from greenroom_client.utterance_record import UtteranceRecord

Response = tts_pb2.StreamingSynthesizeResponse

if TYPE_CHECKING:
    from greenroom_client.events import AudioChunk

    StreamCall = grpc.aio.StreamStreamCall[Request, Response]

OUTGOING_MAX = 64
"""Messages that wait to be sent; a writer waits beyond that, a cancel does not."""
CLOSE_SECONDS = 2.0
"""How long a quiet session may take to end in good order before it is cancelled."""

OnEvent = Callable[[SessionEvent], None]


class Line:
    """The shell around a conversation.

    Invariant: after `close` no task, timer or RPC of it is left.
    """

    def __init__(
        self, call: "StreamCall", conversation: Conversation, *, on_event: OnEvent | None, clock: Callable[[], float]
    ) -> None:
        self.conversation = conversation
        self.clock = clock
        self._call = call
        self._status = CallStatus()
        self._on_event = on_event
        self._outgoing: asyncio.Queue[Request | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._readable = asyncio.Event()
        self._waiters: set[asyncio.Future[None]] = set()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._watch: asyncio.TimerHandle | None = None
        self._failure: GreenroomError | None = None

    # --- opening and closing ------------------------------------------------------------------------------------

    async def open(self, config: SessionConfig, *, timeout_seconds: float) -> SessionStarted:
        """Send the config and return the service's confirmation. Raises what it answered instead."""
        self._status.watch(self._call)
        self._outgoing.put_nowait(config_request(config))
        self._tasks = (asyncio.create_task(self._write_all()), asyncio.create_task(self._read_all()))
        self._watch_for_stall()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.until(lambda: self.conversation.started is not None or self.conversation.over)
            return self.conversation.confirmation()
        except TimeoutError:
            await self.close()
            raise no_answer(f"the service did not open the session within {timeout_seconds:.3g} s") from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the session: in good order if nothing is open, else at once. Does nothing the second time."""
        try:
            if self.conversation.is_quiet:
                self._outgoing.put_nowait(None)
                await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        finally:
            self._end(SessionClosedError("the session was closed"))
            self._call.cancel()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    # --- for sessions and utterances ----------------------------------------------------------------------------

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready`, which is asked whenever something has come."""
        while not ready():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            self._readable.set()
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    async def room(self) -> None:
        """Wait until another message may be queued. Raises what ended the session."""
        while self._outgoing.qsize() >= OUTGOING_MAX and not self.conversation.over:
            self._room.clear()
            await self._room.wait()
        self.conversation.check_open()

    def send(self, request: Request) -> None:
        """Queue a message, whether or not there is room."""
        self._outgoing.put_nowait(request)

    def take(self, record: UtteranceRecord) -> "AudioChunk | None":
        """Return an utterance's next audio, if it has any."""
        chunk = self.conversation.take(record)
        self._readable.set()
        return chunk

    def wake(self) -> None:
        """Let everybody who waits look again."""
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # --- the RPC ------------------------------------------------------------------------------------------------

    async def _write_all(self) -> None:
        # A write after the service's end raises one or the other; the status is the reader's to tell.
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            while (request := await self._outgoing.get()) is not None:
                await self._call.write(request)
                self._room.set()
            await self._call.done_writing()

    async def _read_all(self) -> None:
        try:
            # Iterated over rather than `read`, which gives up what has come once a write has failed.
            responses = aiter(self._call)
            while (response := await self._read(responses)) is not None:
                self._deliver(response)
            self._end(SessionClosedError("the service ended the session"))
        except grpc.aio.AioRpcError as error:
            self._end(await self._status.error(error))
        except asyncio.CancelledError:
            # Of this task, by `close`; or of the RPC, by `close` or the watch, which grpc.aio tells in the same way.
            self._end(self._failure or SessionClosedError("the session was closed"))
        except Exception as error:  # noqa: BLE001 - A callback may raise anything, and the session must end for it.
            failure = SessionClosedError(f"on_event raised {error!r}")
            failure.__cause__ = error
            self._end(failure)
            self._call.cancel()

    async def _read(self, responses: AsyncIterator[Response]) -> Response | None:
        while not self.conversation.may_read(waiting=len(self._waiters)):
            self._readable.clear()
            await self._readable.wait()
        self.conversation.reading_since = self.clock()
        try:
            return await anext(responses, None)
        finally:
            self.conversation.reading_since = None

    def _deliver(self, response: Response) -> None:
        event = session_event(response)
        if event is None:
            return
        is_stale = self.conversation.is_stale(event)
        for utterance_id in self.conversation.receive(event):
            self.send(cancel_request(utterance_id, None))
        self.wake()
        if self._on_event is not None and isinstance(event, SessionEvent) and not is_stale:
            self._on_event(event)

    def _end(self, error: GreenroomError) -> None:
        self.conversation.finish(error)
        if self._watch is not None:
            self._watch.cancel()
        self._room.set()
        self._outgoing.put_nowait(None)
        self.wake()

    def _watch_for_stall(self) -> None:
        limit_seconds = self.conversation.limits.stall_seconds
        if self.conversation.is_stalled(self.clock()):
            message = f"the service has said nothing for {limit_seconds:.3g} s"
            self._failure = no_answer(message)
            self._call.cancel()
            return
        self._watch = asyncio.get_running_loop().call_later(limit_seconds / 4, self._watch_for_stall)

    def __repr__(self) -> str:
        return f"<Line {self.conversation!r} | {self._outgoing.qsize()} to send | {len(self._waiters)} waiting>"
