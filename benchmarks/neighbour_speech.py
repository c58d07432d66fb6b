"""Somebody who listens all the while: speech in real time, an utterance after the other, and what came of each."""

import asyncio
import threading
import time
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Protocol

import grpc

from benchmarks.speaking import end, read_until, stub_of, text
from greenroom.tts.v1 import tts_pb2 as pb

WORDS: Final = (
    "Every actor waits in the green room until a voice calls, and comes on stage in the time that a breath takes, "
    "speaks the line that was written for the evening, and goes back to wait where it is warm."
)
OPEN_UTTERANCES: Final = 2
"""One speaks, the next one waits for its end: there is no pause, and never nobody with a claim."""

RETRY_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """What was heard between two moments: how often playback ran out of audio, or why there was no more."""

    begin_unix_seconds: float
    end_unix_seconds: float
    underruns: int = 0
    error: str = ""


class Speaker(Protocol):
    """A client that listens."""

    utterances: list[Utterance]

    def start(self) -> None:
        """Begin to listen."""

    def stop(self) -> None:
        """Listen no more."""


class ServedSpeaker:
    """Listens to the real service; a session that fails is told as an utterance, and the next one opened."""

    def __init__(self, address: str, config: Any) -> None:
        self.utterances: list[Utterance] = []
        self._address = address
        self._config = config
        self._config.config.pacing = pb.PACING_REALTIME
        self._began = 0.0
        self._numbers = count(1)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()), daemon=True)

    def __repr__(self) -> str:
        return f"<ServedSpeaker {len(self.utterances)} utterances>"

    def start(self) -> None:
        """Begin to listen, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._ends.set()
        self._thread.join(30.0)

    async def _listen(self) -> None:
        async with stub_of(self._address) as stub:
            while not self._ends.is_set():
                self._began = time.time()
                try:
                    await self._session(stub)
                except (grpc.RpcError, RuntimeError, TimeoutError) as error:
                    self._note(error=f"session: {error}")
                    await asyncio.sleep(RETRY_SECONDS)

    async def _session(self, stub: Any) -> None:
        call = stub.StreamingSynthesize()
        await call.write(self._config)
        await read_until(call, "session_started")
        for _ in range(OPEN_UTTERANCES):
            await self._say(call)
        while not self._ends.is_set():
            response = await call.read()
            if response is grpc.aio.EOF:
                raise RuntimeError(f"the stream ended: {await call.code()} {await call.details()}")
            match response.WhichOneof("response"):
                case "utterance_done":
                    self._note(underruns=response.utterance_done.underruns)
                    await self._say(call)
                case "utterance_error":
                    self._note(error=response.utterance_error.error.message)
                    await asyncio.sleep(RETRY_SECONDS)
                    await self._say(call)
        call.cancel()

    async def _say(self, call: Any) -> None:
        name = f"u{next(self._numbers)}"
        await call.write(text(name, WORDS))
        await call.write(end(name))

    def _note(self, *, underruns: int = 0, error: str = "") -> None:
        now = time.time()
        self.utterances.append(
            Utterance(begin_unix_seconds=self._began, end_unix_seconds=now, underruns=underruns, error=error)
        )
        self._began = now
