"""The fake service's session: it enforces the wire contract, so that a client that breaks it is refused.

Config first and once; ids never used again; limits; every flush and cancel acknowledged; nothing of an utterance after
its end. Which message is answered how follows the table of the design, and the script says what goes wrong on purpose.
"""

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import AsyncIterator
from enum import Enum
from typing import Any

import grpc
from google.rpc import status_pb2

from greenroom.tts.v1 import tts_pb2
from tests.fakes.fake_speech_script import Script, at_capacity, bad_config, status
from tests.fakes.fake_speech_utterance import FakeUtterance, Response

Request = tts_pb2.StreamingSynthesizeRequest
ID = re.compile(r"[ -~]{1,128}")


class Ending(Enum):
    """How an utterance ended."""

    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class SessionRefused(Exception):  # noqa: N818 - It is the fake's answer, not the test's error.
    """The stream ends with this status."""

    def __init__(self, answer: status_pb2.Status) -> None:
        super().__init__(answer.message)
        self.answer = answer


class FakeSession:
    """One session. `receive` takes requests, `responses` gives answers; urgent ones overtake audio."""

    def __init__(self, config: tts_pb2.SessionConfig, script: Script, voices: frozenset[str]) -> None:
        self.config = config
        self.script = script
        self.voices = voices
        self.open: dict[str, FakeUtterance] = {}
        self.ended: dict[str, Ending] = {}
        self.playback: dict[str, int] = {}
        self.half_closed = False
        self.refused: SessionRefused | None = None
        self.chunks_sent = 0
        self._urgent: deque[Response] = deque()
        self._changed = asyncio.Event()

    # --- what the client says -----------------------------------------------------------------------------------

    async def receive_all(self, requests: AsyncIterator[Request]) -> None:
        """Take everything in, to the half-close."""
        try:
            async for request in requests:
                self.receive(request)
        except SessionRefused as refused:
            self.refused = refused
        self.half_closed = True
        for utterance in self.open.values():
            utterance.end()
        self._changed.set()

    def receive(self, request: Request) -> None:
        """Take one request in. Raises SessionRefused where the contract says that the stream ends."""
        match request.WhichOneof("request"):
            case "config":
                raise SessionRefused(status(grpc.StatusCode.FAILED_PRECONDITION, "CONFIG_NOT_FIRST", "a second config"))
            case "text":
                self._text(request.text)
            case "flush":
                self._flush(request.flush)
            case "end_utterance":
                if request.end_utterance.utterance_id in self.open:
                    self.open[request.end_utterance.utterance_id].end()
            case "cancel":
                self._cancel(request.cancel)
            case "playback":
                position = request.playback
                self.playback[position.utterance_id] = max(
                    self.playback.get(position.utterance_id, 0), position.played_samples
                )
            case "update":
                self._update(request.update)
            case None:
                self._refuse("", bad_config("request", "an empty request"))
        self._changed.set()

    def _text(self, chunk: tts_pb2.TextChunk) -> None:
        utterance = self._utterance(chunk.utterance_id)
        if utterance is None:
            return
        if len(utterance.text) + len(chunk.text.encode()) > self.script.utterance_text_bytes:
            answer = status(grpc.StatusCode.INVALID_ARGUMENT, "TEXT_TOO_LONG", "too much text", field_at_fault="text")
            self._refuse(chunk.utterance_id, answer)
        else:
            utterance.write(chunk.text)

    def _flush(self, flush: tts_pb2.Flush) -> None:
        utterance = self._utterance(flush.utterance_id)
        if utterance is None:
            return
        if sum(len(other.flushes) for other in self.open.values()) >= self.script.waiting_flushes:
            self._refuse(flush.utterance_id, at_capacity(retry_after_seconds=1.0))
        elif "flush" not in self.script.silent:
            utterance.flush(flush.flush_id)

    def _utterance(self, utterance_id: str) -> FakeUtterance | None:
        """Return the open utterance, created if it is new; None if the message was answered or dropped."""
        if ID.fullmatch(utterance_id) is None:
            self._refuse(utterance_id, bad_config("utterance_id", "malformed"))
            return None
        if utterance_id in self.open:
            if self.open[utterance_id].text_ended:
                self._refuse(utterance_id, bad_config("utterance_id", "it has ended"))
                return None
            return self.open[utterance_id]
        match self.ended.get(utterance_id):
            case Ending.DONE:
                self._refuse(utterance_id, bad_config("utterance_id", "used before"))
            case Ending.CANCELLED | Ending.FAILED:
                pass  # An ordinary race.
            case None:
                return self._create(utterance_id)
        return None

    def _create(self, utterance_id: str) -> FakeUtterance | None:
        if len(self.open) > self.script.waiting_utterances:
            self.ended[utterance_id] = Ending.FAILED
            self._refuse(utterance_id, at_capacity(retry_after_seconds=1.0), closed=True)
            return None
        config = tts_pb2.SessionConfig()
        config.CopyFrom(self.config)
        self.open[utterance_id] = FakeUtterance(utterance_id, config)
        return self.open[utterance_id]

    def _cancel(self, cancel: tts_pb2.CancelUtterance) -> None:
        if "cancel" in self.script.silent:
            return
        answer = tts_pb2.UtteranceCancelled(utterance_id=cancel.utterance_id, already_done=True)
        utterance = self.open.pop(cancel.utterance_id, None)
        if utterance is not None:
            self.ended[utterance.id] = Ending.CANCELLED
            heard = cancel.heard_samples if cancel.HasField("heard_samples") else None
            spoken, unspoken = utterance.split_text(heard)
            answer = tts_pb2.UtteranceCancelled(
                utterance_id=utterance.id,
                text_spoken=spoken,
                text_unspoken=unspoken,
                samples_sent=utterance.samples_sent,
            )
        self._urgent.append(Response(utterance_cancelled=answer))

    def _update(self, update: tts_pb2.UpdateConfig) -> None:
        paths = update.update_mask.paths
        if any(path.startswith("audio_format") for path in paths):
            self._refuse("", bad_config("update_mask", "audio_format is fixed for the session"))
        elif "voice" in paths and update.config.voice not in {"", *self.voices}:
            self._refuse("", status(grpc.StatusCode.NOT_FOUND, "VOICE_NOT_FOUND", f"no voice {update.config.voice!r}"))
        else:
            for path in paths:
                _copy_field(path, update.config, self.config)

    def _refuse(self, utterance_id: str, answer: status_pb2.Status, *, closed: bool = False) -> None:
        error = tts_pb2.UtteranceError(utterance_id=utterance_id, error=answer, closed=closed)
        self._urgent.append(Response(utterance_error=error))

    # --- what the service says ----------------------------------------------------------------------------------

    def say(self, response: Response) -> None:
        """Send an answer before all audio."""
        self._urgent.append(response)

    async def responses(self) -> AsyncIterator[Response]:
        """Yield answers until the session is over. Raises SessionRefused where it ends with a status."""
        while True:
            self._changed.clear()
            if self._urgent:
                yield self._urgent.popleft()
            elif self.refused is not None:
                raise self.refused
            elif (response := await self._next()) is not None:
                yield response
            elif self._is_over():
                return
            else:
                await self._changed.wait()

    def _is_over(self) -> bool:
        return (self.half_closed and not self.open and not self._urgent) or self._ends_early()

    def _ends_early(self) -> bool:
        limit = self.script.end_session_after_chunks
        if limit is None or self.chunks_sent < limit:
            return False
        if self.script.end_session_with is not None:
            raise SessionRefused(self.script.end_session_with)
        return True

    async def _next(self) -> Response | None:
        """Return the next answer of the utterance whose turn it is; None if something else may have come."""
        if not self.open or self._ends_early():
            return None
        utterance = next(iter(self.open.values()))
        if not utterance.outgoing:
            utterance.speak()
        if not utterance.outgoing or ("text" in self.script.silent):
            return None
        if utterance.outgoing[0].HasField("audio") and not await self._is_due(utterance):
            return None
        return self._sent(utterance, utterance.outgoing.popleft())

    async def _is_due(self, utterance: FakeUtterance) -> bool:
        """Wait for the time of the next chunk; False if something else came meanwhile."""
        script = self.script
        delay_seconds = script.chunk_delay_seconds if utterance.samples_sent else script.first_audio_delay_seconds
        if delay_seconds:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), delay_seconds)
                return False
        return True

    def _sent(self, utterance: FakeUtterance, response: Response) -> Response:
        if response.HasField("audio"):
            utterance.samples_sent += response.audio.sample_count
            self.chunks_sent += 1
            if response.audio.sequence == self.script.lose_chunk and utterance.outgoing:
                return self._sent(utterance, utterance.outgoing.popleft())
            if response.audio.sequence + 1 == self.script.fail_utterance_after_chunks:
                self._end(utterance, Ending.FAILED)
                self._refuse(utterance.id, status(grpc.StatusCode.INTERNAL, "ENGINE_FAULT"), closed=True)
        if response.HasField("utterance_done"):
            self._end(utterance, Ending.DONE)
        return response

    def _end(self, utterance: FakeUtterance, ending: Ending) -> None:
        del self.open[utterance.id]
        self.ended[utterance.id] = ending

    def __repr__(self) -> str:
        return f"<FakeSession {list(self.open.values())} | {len(self.ended)} ended>"


def _copy_field(path: str, source: Any, into: Any) -> None:
    """Copy the field at a path, or clear it where the source has none; FieldMask itself would set it to zero."""
    *parents, name = path.split(".")
    for parent in parents:
        source, into = getattr(source, parent), getattr(into, parent)
    if not source.DESCRIPTOR.fields_by_name[name].has_presence or source.HasField(name):
        value = getattr(source, name)
        if source.DESCRIPTOR.fields_by_name[name].message_type is None:
            setattr(into, name, value)
        else:
            getattr(into, name).CopyFrom(value)
    else:
        into.ClearField(name)
