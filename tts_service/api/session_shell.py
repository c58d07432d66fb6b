"""The I/O around one `Session`: reads, writes, renders, keeps time. It decides nothing.

Three tasks share the session on one event loop, so no lock is needed: the reader takes the client's messages in, the
renderer carries out orders, and the writer writes what `poll` gives. The reader hands new orders on by itself
(`_pump`), so that a cancel stops work even while the writer waits for a client that does not read.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from tts_service.engine_seam import Emit, SessionRenderer
from tts_service.errors import Reason, ServiceError
from tts_service.speech.outbox import TIMER_SECONDS
from tts_service.speech.protocol import ClientMessage, Drain, HalfClose, ServerMessage
from tts_service.speech.rendering import RenderEvent
from tts_service.speech.session import Session
from tts_service.types import Priority

URGENT_MESSAGES_MAX = 1_024
"""Answers that may wait for a client that does not read; beyond it the service stops reading that client."""

Write = Callable[[ServerMessage], Awaitable[None]]


class SessionShell:
    """Runs one session from its first message to its end."""

    def __init__(
        self,
        session: Session,
        make_renderer: Callable[[Emit], SessionRenderer],
        write: Write,
        clock: Callable[[], float],
    ) -> None:
        self.session = session
        self._renderer = make_renderer(self._rendered)
        self._write = write
        self._clock = clock
        self._woken = asyncio.Event()
        self._read_on = asyncio.Event()
        self._reader_error: Exception | None = None

    async def run(self, messages: AsyncIterator[ClientMessage]) -> None:
        """Serve the session; raise the error that it ends with, if any. Every task has ended when this returns."""
        reader = asyncio.create_task(self._read(messages))
        renderer = asyncio.create_task(self._renderer.run())
        try:
            await self._write_all()
        finally:
            for task in (reader, renderer):
                task.cancel()
            await asyncio.gather(reader, renderer, return_exceptions=True)

    @property
    def queued(self) -> int:
        """Utterances that wait for a place to compute: at most one, because they are rendered in order."""
        return sum(u.rendering and u.render_started_at is None for u in self.session.utterances.open)

    @property
    def beginning(self) -> bool:
        """Whether it was asked to speak, for somebody who listens, and has not sounded yet."""
        if self.session.config.priority is not Priority.INTERACTIVE:
            return False
        return any(u.rendering and not u.samples_made for u in self.session.utterances.open)

    def drain(self, deadline: float) -> None:
        """Tell the session that the service stops."""
        self.session.receive(Drain(deadline=deadline), self._clock())
        self._pump()

    async def _read(self, messages: AsyncIterator[ClientMessage]) -> None:
        try:
            async for message in messages:
                self.session.receive(message, self._clock())
                self._pump()
                await self._bounded()
            self.session.receive(HalfClose(), self._clock())
        except Exception as error:  # noqa: BLE001  # The writer raises it; nothing is swallowed.
            self._reader_error = error
        self._pump()

    async def _bounded(self) -> None:
        while len(self.session.outbox.urgent) >= URGENT_MESSAGES_MAX:
            self._read_on.clear()
            await self._read_on.wait()

    def _rendered(self, event: RenderEvent) -> None:
        """Take a render event in; the writer hands on what follows from it, because none of it is urgent."""
        if self.session.rendered(event, self._clock()):
            self._woken.set()

    def _pump(self) -> None:
        now = self._clock()
        self.session.tick(now)
        for order in self.session.take_orders(now):
            self._renderer.submit(order)
        self._woken.set()

    async def _write_all(self) -> None:
        while True:
            self._pump()
            self._woken.clear()
            if self._reader_error is not None:
                raise self._reader_error
            message = self.session.poll(self._clock())
            if message is not None:
                await self._write_one(message)
            elif self.session.end_error is not None:
                raise self.session.end_error
            elif self.session.ended:
                return
            else:
                await self._sleep()

    async def _write_one(self, message: ServerMessage) -> None:
        limit_seconds = self.session.limits.idle_timeout_seconds
        try:
            async with asyncio.timeout(limit_seconds):
                await self._write(message)
        except TimeoutError:
            raise ServiceError(Reason.IDLE_TIMEOUT, f"the client read nothing for {limit_seconds:g} s") from None
        if not self._read_on.is_set() and len(self.session.outbox.urgent) < URGENT_MESSAGES_MAX // 2:
            self._read_on.set()

    async def _sleep(self) -> None:
        now = self._clock()
        # Half of what audio may be early by: a timer that rounds by a millisecond either way is then never late.
        wait_seconds = max(0.0, self.session.wake_at(now) - now - TIMER_SECONDS / 2)
        wait_seconds = min(wait_seconds, self.session.limits.idle_timeout_seconds)
        timer = asyncio.get_running_loop().call_later(wait_seconds, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            timer.cancel()

    def __repr__(self) -> str:
        return f"<SessionShell {self.session!r} | {self._renderer!r}>"
