"""A session's renderer whose engine is another process: orders go there, and what comes back is coded here."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor

import structlog

from tts_service.engine_process.coded_events import CodedEvents
from tts_service.engine_seam import Emit
from tts_service.errors import GreenroomError, Reason, ServiceError
from tts_service.speech.rendering import (
    AudioFinished,
    DiscardAudio,
    FinishAudio,
    Order,
    RenderEvent,
    RenderFailed,
    RenderSegment,
)

_log = structlog.get_logger(__name__)


class RemoteRenderer:
    """Carries out one session's orders elsewhere.

    `send` takes an order, or returns why it cannot be carried out now; `on_end` hears when the session has ended.
    What takes long to code is coded by `coders`, without which it is coded in the event loop.
    Invariant: whatever was ordered of an utterance ends in its last piece or in one failure, unless it is discarded.
    """

    def __init__(
        self,
        emit: Emit,
        *,
        send: Callable[[Order], GreenroomError | None],
        on_end: Callable[[], object],
        coders: Executor | None = None,
    ) -> None:
        self._emit = emit
        self._send = send
        self._on_end = on_end
        self._coders = coders
        self._coding: dict[str, CodedEvents] = {}

    def submit(self, order: Order) -> None:
        """Take an order; one that nobody can carry out now fails in the next turn of the loop."""
        match order:
            case DiscardAudio():
                self._drop(order.utterance_id)
            case RenderSegment() | FinishAudio() if order.utterance_id not in self._coding:
                take = functools.partial(self._tell, order.utterance_id)
                self._coding[order.utterance_id] = CodedEvents(order.config.audio_format, self._coders, take)
            case _:
                pass
        refusal = self._send(order)
        if refusal is not None and order.utterance_id in self._coding:
            asyncio.get_running_loop().call_soon(self._fail, order.utterance_id, refusal)

    async def run(self) -> None:
        """Wait to be cancelled: then nothing is wanted any more."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for utterance_id in tuple(self._coding):
                self._drop(utterance_id)
            self._on_end()

    def take(self, event: RenderEvent) -> None:
        """Take in what the engine says; what comes too late for an utterance is dropped."""
        coding = self._coding.get(event.utterance_id)
        if coding is not None:
            coding.code(event)

    def lost(self, error: GreenroomError) -> None:
        """Fail whatever is under way: the engine that made it has gone."""
        for utterance_id in tuple(self._coding):
            self._fail(utterance_id, error)

    def _tell(self, utterance_id: str, coded: RenderEvent | Exception) -> None:
        match coded:
            case ServiceError():
                self._give_up(utterance_id, coded)
            case Exception():
                _log.error("coding_failed", utterance_id=utterance_id, exc_info=coded)
                fault = ServiceError(Reason.ENGINE_FAULT, "the audio could not be coded; see the service's log")
                self._give_up(utterance_id, fault)
            case AudioFinished() | RenderFailed():
                self._drop(utterance_id)
                self._emit(coded)
            case _:
                self._emit(coded)

    def _give_up(self, utterance_id: str, error: GreenroomError) -> None:
        self._send(DiscardAudio(utterance_id=utterance_id))
        self._fail(utterance_id, error)

    def _fail(self, utterance_id: str, error: GreenroomError) -> None:
        if self._drop(utterance_id):
            self._emit(RenderFailed(utterance_id=utterance_id, error=error))

    def _drop(self, utterance_id: str) -> bool:
        """Forget an utterance; tell whether it was known."""
        coding = self._coding.pop(utterance_id, None)
        if coding is not None:
            coding.drop()
        return coding is not None

    def __repr__(self) -> str:
        return f"<RemoteRenderer of {', '.join(self._coding) or 'nothing'}>"
