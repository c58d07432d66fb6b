"""One session: opens, takes its turns, listens, and says how it ended.

A reader notes what comes the moment it comes; the caller alone writes. Both share one event loop, so no lock is needed.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc

from benchmarks.load.fairness import SessionShare
from benchmarks.load.heard import Heard
from benchmarks.load.lines import reason_of
from benchmarks.load.listening import Listening
from benchmarks.load.manner import Manner
from benchmarks.load.recordings import Recordings
from benchmarks.load.run_end import RunEnd
from benchmarks.load.sentences import LETTERS_A_SECOND, Texts, written
from benchmarks.load.tally import Tally
from benchmarks.load.turn import Cancel, End, Over, Report, Say, Turn, Wait
from benchmarks.speaking import Request, end, text
from greenroom.tts.v1 import tts_pb2 as pb
from greenroom_client.aio_status import CallStatus
from greenroom_client.errors import ServiceError

MODEL_RATE_HERTZ: Final = 24_000
CLOSING_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 1.0
"""So often a session that waits looks whether the run is over."""

SILENT_SECONDS: Final = 60.0
"""A session that hears nothing for so long, while something is due, is lost."""

BARGE_IN_SHARES: Final = (0.05, 0.9)
"""Of an utterance's expected length, between which it is interrupted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a session ended. Without an error it ended well, or was cut off by the end of the run."""

    was_taken: bool
    error: ServiceError | None = None


class Caller:
    """One session. `late_seconds`: it began so much after its time."""

    def __init__(
        self,
        stub: Any,
        *,
        number: int,
        manner: Manner,
        tally: Tally,
        run_end: RunEnd,
        recordings: Recordings,
        late_seconds: float = 0.0,
        on_taken: Callable[[], None] = lambda: None,
    ) -> None:
        self._call = stub.StreamingSynthesize()
        self._status = CallStatus()
        self._status.watch(self._call)
        self._number = number
        self._manner = manner
        self._tally = tally
        self._run_end = run_end
        self._recordings = recordings
        self._late_seconds = late_seconds
        self._on_taken = on_taken
        self._source = random.Random(manner.session_seed(number))  # noqa: S311  # Texts, no secrets.
        self._texts = Texts(self._source, words=manner.words)
        self._listening = Listening(number, tally)
        self._share = SessionShare()
        self._changed = asyncio.Event()
        self._heard_at = time.monotonic()
        self._error: ServiceError | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Caller {self._number} | {self._listening!r}>"

    async def hold(self) -> Outcome:
        """Hold the session until its turns are over or the run is."""
        began = time.monotonic()
        reader = asyncio.create_task(self._read())
        try:
            await self._write(self._manner.first_message(self._number))
            while self._listening.started is None and self._goes_on():
                await self._wait(LOOK_SECONDS)
            if self._listening.started is not None:
                return await self._taken()
            return self._refused(self._heard_at - began)
        finally:
            self._call.cancel()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    def _goes_on(self) -> bool:
        return not self._is_closed and not self._run_end.is_over

    def _refused(self, seconds: float) -> Outcome:
        if self._error is not None:
            retry_seconds = self._error.retry_after_seconds
            took_seconds = None if self._listening.was_queued else seconds
            self._tally.rejected(reason_of(self._error), took_seconds, retry_after_seconds=retry_seconds)
        return Outcome(was_taken=False, error=self._error)

    async def _taken(self) -> Outcome:
        self._tally.opened()
        self._on_taken()
        try:
            for number in range(self._manner.turns):
                if not self._goes_on():
                    break
                await self._utterance(f"u{number}", late_seconds=0.0 if number else self._late_seconds)
                await self._think()
            await self._close()
        finally:
            self._tally.closed()
            self._share.tell(self._tally.rates, self._tally.first_audios)
        if self._error is not None:
            self._tally.failures[reason_of(self._error)] += 1
        return Outcome(was_taken=True, error=self._error)

    async def _utterance(self, utterance_id: str, *, late_seconds: float) -> None:
        effective = self._listening.started.effective_config
        heard = Heard(
            utterance_id,
            rate_hertz=effective.audio_format.sample_rate_hertz or MODEL_RATE_HERTZ,
            ahead_seconds=effective.max_audio_ahead.ToNanoseconds() / 1e9,
            delay_seconds=self._manner.delay_seconds,
        )
        words = self._texts.utterance()
        is_comparable = self._manner.is_comparable(self._number)
        recording = self._recordings.begin(self._number, utterance_id, words) if is_comparable else None
        self._listening.begin(heard, recording)
        try:
            await self._take_turn(self._planned(heard, words))
        finally:
            heard.cut_off(time.monotonic())
            self._tally.heard(self._number, heard, late_seconds=late_seconds)
            self._share.add(heard)

    def _planned(self, heard: Heard, words: str) -> Turn:
        now, manner = time.monotonic(), self._manner
        pieces = written(words, self._source, tokens_per_second=manner.tokens_per_second, jitter=manner.jitter)
        position = self._source.uniform(*BARGE_IN_SHARES) * len(words) / LETTERS_A_SECOND
        is_interrupted = self._source.random() < manner.barge_in_share
        return Turn(
            heard,
            ((now + at_seconds, piece) for at_seconds, piece in pieces),
            report_seconds=manner.report_seconds,
            barge_in_seconds=position if is_interrupted else None,
            is_paced=manner.is_paced,
        )

    async def _take_turn(self, turn: Turn) -> None:
        name = turn.heard.id
        self._heard_at = time.monotonic()
        while self._goes_on():
            now = time.monotonic()
            match turn.next(now):
                case Over():
                    return
                case Say(text=piece):
                    turn.heard.text.write(piece, now)
                    await self._write(text(name, piece))
                case End():
                    turn.heard.text.end(now)
                    await self._write(end(name))
                case Report(samples=samples):
                    turn.heard.allowance.report(samples / turn.heard.rate_hertz, now)
                    await self._write(Request(playback=pb.PlaybackPosition(utterance_id=name, played_samples=samples)))
                case Cancel(heard_samples=samples):
                    await self._write(Request(cancel=pb.CancelUtterance(utterance_id=name, heard_samples=samples)))
                case Wait(until=until):
                    await self._wait(until - now)
                    self._note_silence()

    async def _think(self) -> None:
        mean = self._manner.think_seconds
        if mean > 0.0 and not self._is_closed:
            await self._run_end.sleep(self._source.expovariate(1.0 / mean))

    async def _close(self) -> None:
        """Say that nothing follows, and wait for the service to close; the end of a run just hangs up."""
        if not self._goes_on():
            return
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            await self._call.done_writing()
        deadline = time.monotonic() + CLOSING_SECONDS
        while self._goes_on():
            if time.monotonic() > deadline:
                self._tally.finding(f"session {self._number} was not closed within {CLOSING_SECONDS:g} s")
                return
            await self._wait(LOOK_SECONDS)

    def _note_silence(self) -> None:
        if time.monotonic() - self._heard_at > SILENT_SECONDS:
            self._tally.finding(f"session {self._number} heard nothing for {SILENT_SECONDS:g} s: {self._listening!r}")
            self._is_closed = True

    async def _write(self, request: Any) -> None:
        """Write a message; if the call is over, the reader says why."""
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            await self._call.write(request)

    async def _wait(self, seconds: float) -> None:
        """Wait for something to be heard, so long at most, and never much beyond the end of the run."""
        self._changed.clear()
        if self._is_closed:
            return
        timer = asyncio.get_running_loop().call_later(min(max(0.0, seconds), LOOK_SECONDS), self._changed.set)
        try:
            await self._changed.wait()
        finally:
            timer.cancel()

    async def _read(self) -> None:
        try:
            while (response := await self._call.read()) is not grpc.aio.EOF:
                self._heard_at = time.monotonic()
                if self._listening.take(response, self._heard_at):
                    self._changed.set()
        except grpc.aio.AioRpcError as error:
            self._error = await self._status.error(error)
            self._heard_at = time.monotonic()
        finally:
            self._is_closed = True
            self._changed.set()
