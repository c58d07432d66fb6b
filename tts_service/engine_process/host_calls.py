"""Calls as the engine's process has them: uploads that come in pieces, and what is made of them."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

import structlog

from tts_service.engine_process.messages import (
    CallFailed,
    DeleteVoice,
    EncodersWanted,
    FindWatermark,
    MakeVoice,
    Piece,
    VoiceDeleted,
    VoiceMade,
    WatermarkLooked,
)
from tts_service.engine_seam import VoiceMaking, WatermarkSearching
from tts_service.errors import GreenroomError, Reason, ServiceError, bad_config
from tts_service.speech.new_voice import NO_VOICES_HERE

Asked = EncodersWanted | Piece | MakeVoice | DeleteVoice | FindWatermark

_log = structlog.get_logger(__name__)


class HostCalls:
    """Calls by their numbers. `makes` is None where no voices are made; `changed` hears before an answer that they are.

    Nothing here bounds what is uploaded: the front end does, before it sends.
    """

    def __init__(
        self,
        makes: VoiceMaking | None,
        searches: WatermarkSearching,
        say: Callable[[Any], object],
        *,
        changed: Callable[[], object],
    ) -> None:
        self._makes = makes
        self._searches = searches
        self._say = say
        self._changed = changed
        self._uploads: dict[int, bytearray] = {}
        self._called: dict[int, ExitStack] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def take(self, asked: Asked) -> None:
        """Take what is asked."""
        match asked:
            case Piece(call=call, data=data):
                self._uploads.setdefault(call, bytearray()).extend(data)
            case EncodersWanted(call=call):
                called = self._called[call] = ExitStack()
                called.enter_context(self._maker().called())
            case MakeVoice(call=call):
                self._begin(call, self._made(asked, bytes(self._uploads.pop(call, b""))))
            case DeleteVoice(call=call):
                self._begin(call, self._deleted(asked))
            case FindWatermark(call=call):
                self._begin(call, self._looked(asked, bytes(self._uploads.pop(call, b""))))

    def forget(self, call: int) -> None:
        """End what is under way for a call."""
        self._uploads.pop(call, None)
        called, task = self._called.pop(call, None), self._tasks.pop(call, None)
        if called is not None:
            called.close()
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End all of them."""
        tasks = tuple(self._tasks.values())
        for call in {*self._uploads, *self._called, *self._tasks}:
            self.forget(call)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _maker(self) -> VoiceMaking:
        if self._makes is None:
            raise bad_config("spec.model", NO_VOICES_HERE)
        return self._makes

    async def _made(self, asked: MakeVoice, content: bytes) -> None:
        voice, already_there = await self._maker().made(asked.wanted, content)
        self._changed()
        self._say(VoiceMade(call=asked.call, voice=voice, already_there=already_there))

    async def _deleted(self, asked: DeleteVoice) -> None:
        await asyncio.to_thread(self._maker().delete, asked.voice)
        self._changed()
        self._say(VoiceDeleted(call=asked.call))

    async def _looked(self, asked: FindWatermark, data: bytes) -> None:
        found = await self._searches.look(data, asked.audio_format)
        self._say(WatermarkLooked(call=asked.call, found=found))

    def _begin(self, call: int, work: Coroutine[Any, Any, None]) -> None:
        self._tasks[call] = asyncio.create_task(self._answer(call, work))

    async def _answer(self, call: int, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except GreenroomError as error:
            self._say(CallFailed(call=call, error=error))
        except Exception as error:  # noqa: BLE001  # What an upload makes a library raise goes to the log alone.
            _log.error("call_failed", exc_info=error)
            fault = ServiceError(Reason.ENGINE_FAULT, "the service failed; its log says more")
            self._say(CallFailed(call=call, error=fault))
        finally:
            self._tasks.pop(call, None)

    def __repr__(self) -> str:
        return f"<HostCalls {len(self._tasks)} under way>"
