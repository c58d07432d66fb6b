"""Calls that an engine of another process answers one by one: voices and detections, with what they upload."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tts_service.engine_process.channel import Channel
from tts_service.engine_process.messages import (
    Answer,
    CallFailed,
    CallForgotten,
    DeleteVoice,
    EncodersWanted,
    FindWatermark,
    MakeVoice,
    Piece,
    VoiceMade,
    WatermarkLooked,
)
from tts_service.errors import ServiceError
from tts_service.speech.new_voice import NewVoice
from tts_service.speech.session_config import VoiceFacts
from tts_service.speech.watermark import Detection
from tts_service.types import AudioFormat

PIECE_BYTES: Final = 256 << 10
"""Of an upload at once, so that orders of speech have their turn between two of them."""


class RemoteCalls:
    """Calls under way, by their numbers. All of it belongs to one event loop, but for `delete`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._channel: Channel | None = None
        self._away: ServiceError | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._last = 0

    def attach(self, channel: Channel) -> None:
        """Send calls over this channel from now on."""
        self._channel, self._away = channel, None

    def detach(self, error: ServiceError) -> None:
        """Fail all calls, and those to come, until there is another channel."""
        self._channel, self._away = None, error
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)

    def take(self, answer: Answer) -> None:
        """Take an answer; nobody may wait for it any more."""
        waiting = self._waiting.get(answer.call)
        if waiting is None or waiting.done():
            return
        if isinstance(answer, CallFailed):
            waiting.set_exception(answer.error)
        else:
            waiting.set_result(answer)

    # --- what is asked ------------------------------------------------------------------------------------------

    @contextmanager
    def called(self) -> Iterator[None]:
        """Have the encoders come for a block."""
        call, channel = self._number(), self._channel
        if channel is not None:
            channel.say(EncodersWanted(call=call))
        try:
            yield
        finally:
            if channel is not None:
                channel.say(CallForgotten(call=call))

    async def made(self, wanted: NewVoice, content: bytes) -> tuple[VoiceFacts, bool]:
        """Have a voice made."""
        call = self._number()
        answer = await self._answered(MakeVoice(call=call, wanted=wanted), call, content)
        assert isinstance(answer, VoiceMade)
        return answer.voice, answer.already_there

    def delete(self, voice_id: str) -> None:
        """Have a voice deleted, from any thread but the loop's."""
        asyncio.run_coroutine_threadsafe(self._deleted(voice_id), self._loop).result()

    async def look(self, data: bytes, audio_format: AudioFormat) -> Detection:
        """Have the watermark looked for."""
        call = self._number()
        answer = await self._answered(FindWatermark(call=call, audio_format=audio_format), call, data)
        assert isinstance(answer, WatermarkLooked)
        return answer.found

    async def _deleted(self, voice_id: str) -> None:
        call = self._number()
        await self._answered(DeleteVoice(call=call, voice=voice_id), call)

    async def _answered(self, question: Any, call: int, upload: bytes = b"") -> Answer:
        """Send what is uploaded and the question, and wait for the answer."""
        channel = self._channel
        if channel is None:
            assert self._away is not None
            raise self._away
        waiting: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[call] = waiting
        try:
            for begin in range(0, len(upload), PIECE_BYTES):
                channel.say(Piece(call=call, data=upload[begin : begin + PIECE_BYTES]))
                await self._drained(channel, waiting)
            channel.say(question)
            return await waiting
        finally:
            del self._waiting[call]
            if waiting.cancelled() or not waiting.done():
                channel.say(CallForgotten(call=call))
            elif not waiting.cancelled():
                waiting.exception()  # Whoever was cancelled meanwhile does not hear of it.

    async def _drained(self, channel: Channel, waiting: "asyncio.Future[Answer]") -> None:
        """Wait for the channel; if the engine goes meanwhile, raise what the call ends with."""
        try:
            await channel.drained()
        except ConnectionError:
            await waiting

    def _number(self) -> int:
        self._last += 1
        return self._last

    def __repr__(self) -> str:
        return f"<RemoteCalls {len(self._waiting)} under way>"
