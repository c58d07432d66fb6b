"""Text that is still being written, as speech: a session's utterance with both its sides in one."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Self

from greenroom_client.aio_utterance import Texts, Utterance
from greenroom_client.errors import UtteranceInterrupted
from greenroom_client.events import AudioChunk, UtteranceResult


class Speech:
    """Text on its way in and audio on its way out, as one thing to iterate over.

    Leaving the loop, or `aclose`, stops the writing and cancels the utterance. What the texts raise is raised here.
    """

    def __init__(self, utterance: Utterance, texts: Texts) -> None:
        self.utterance = utterance
        self._texts = texts
        self._audio: AsyncGenerator[AudioChunk, None] | None = None

    def __aiter__(self) -> AsyncGenerator[AudioChunk, None]:
        if self._audio is None:
            self._audio = _spoken(self.utterance, self._texts)
        return self._audio

    async def done(self) -> UtteranceResult:
        """Wait for its end and return its figures, as `Utterance.done` does."""
        return await self.utterance.done()

    async def aclose(self) -> None:
        """Stop, if it has not ended."""
        if self._audio is not None:
            await self._audio.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Speech {self.utterance!r}>"


# No methods: a generator that knows its object would keep it alive, and a loop that is left would not be cleaned up
# before the next collection of garbage.
async def _spoken(utterance: Utterance, texts: Texts) -> AsyncGenerator[AudioChunk, None]:
    writing = asyncio.create_task(_write(utterance, texts))
    try:
        async for chunk in utterance:
            yield chunk
        # A cancelled utterance must not wait for the next text, which may never come.
        if writing.done() or not utterance.is_cancelled:
            with contextlib.suppress(UtteranceInterrupted):
                await writing
        if not utterance.is_cancelled:
            await utterance.done()  # It is: this raises a refusal that came too late for the writing.
    finally:
        utterance.interrupt()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def _write(utterance: Utterance, texts: Texts) -> None:
    try:
        await utterance.write_all(texts)
    except BaseException:
        utterance.interrupt()
        raise
