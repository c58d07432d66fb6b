"""Two processes' messages over one socket: what is said in one turn of the event loop is written at once.

Nobody waits to say something, so each side must be bounded by other means: a session has a bound on what it orders,
and what is said in answer is bounded by that. Who speaks more than is read stops reading (`drained`), so that what
it is asked for waits with whoever asks.

What is heard is taken in a few messages at a time, and the event loop turns between them: a step of the engine's says
something for every session at once, and each piece of audio is read and coded before the next.
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Any, Final

from tts_service.engine_process.frames import framed, next_frame
from tts_service.engine_process.values import Vocabulary

READ_AHEAD_BYTES: Final = 1 << 20
UNSENT_BYTES: Final = 4 << 20
"""What may wait to be written before `drained` waits: over 40 s of speech as floats."""
FRAME_MESSAGES: Final = 4
"""Of one frame. To read and code that many plain pieces takes 0.05 to 0.08 ms; 50 sessions may say 250 at once."""


class Channel:
    """One side of it. `says` is the vocabulary of this side, `hears` the other's. All of it in one event loop."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, says: Vocabulary, hears: Vocabulary
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._says = says
        self._hears = hears
        self._loop = asyncio.get_running_loop()
        self._batch: list[Any] = []
        self._ended = False
        writer.transport.set_write_buffer_limits(high=UNSENT_BYTES)

    @classmethod
    async def over(cls, end: socket.socket, *, says: Vocabulary, hears: Vocabulary) -> "Channel":
        """Return a channel over one end of a pair of sockets, which is its own from now on."""
        end.setblocking(False)  # noqa: FBT003  # The library's.
        reader, writer = await asyncio.open_connection(sock=end, limit=READ_AHEAD_BYTES)
        return cls(reader, writer, says=says, hears=hears)

    @property
    def ended(self) -> bool:
        """Whether nothing more is said or heard."""
        return self._ended

    def say(self, message: Any) -> None:
        """Say something at the end of this turn of the loop, with all else that is said in it; nothing once ended."""
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append(message)

    async def drained(self) -> None:
        """Wait until what waits to be written is little. Raises ConnectionError once the other side has gone."""
        self._flush()
        await self._writer.drain()

    async def heard(self) -> Sequence[Any] | None:
        """Wait for what the other side says next, some of what it said in one turn; None when it has gone.

        Raises BadFrameError or BadValueError, after which there is no channel any more.
        """
        await asyncio.sleep(0)  # A frame that is here already is read without a turn of the loop.
        frame = await next_frame(self._reader)
        return None if frame is None else self._hears.read(frame)

    async def close(self) -> None:
        """Say what was to be said, if it can be, and end."""
        self._flush()
        self._ended = True
        self._writer.close()
        with contextlib.suppress(ConnectionError):  # It has ended, which is what was wanted.
            await self._writer.wait_closed()

    def hang_up(self) -> None:
        """Have the other side count as gone, also while it is not: nothing more is heard."""
        self._ended = True
        self._reader.feed_eof()
        self._writer.transport.abort()

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if batch and not self._ended and not self._writer.is_closing():
            parts = (batch[at : at + FRAME_MESSAGES] for at in range(0, len(batch), FRAME_MESSAGES))
            self._writer.write(b"".join(framed(self._says.written(part)) for part in parts))

    def __repr__(self) -> str:
        return f"<Channel {'ended' if self._ended else 'open'} | {len(self._batch)} to say>"
