"""An engine that costs nothing: prepared audio, in the front end's process or in one of its own, and no model.

With it the front end is all that is left: gRPC, admission, sessions, pacing, coding, metrics. Where the engine is
beside it (`same`), pieces are coded in a worker's thread like real ones; from another process (`own`), their samples
cross the socket as they do in service, and the front end codes them.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import uvloop

from tts_service.engine_process.channel import Channel
from tts_service.engine_process.coded_events import CODING_THREADS
from tts_service.engine_process.messages import Ordered, Rendered, SessionEnded, engine_words, front_words
from tts_service.engine_process.remote_speech import RemoteSpeech
from tts_service.engine_seam import Emit, SpeechEngine
from tts_service.late_counts import LateCounts
from tts_service.residency.situation import Move
from tts_service.residency.types import ResidencyReport
from tts_service.scheduling.utilisation import Part
from tts_service.speech.encoded_audio import AudioEncoder, CarriedAudio
from tts_service.speech.rendering import (
    AudioFinished,
    AudioMade,
    DiscardAudio,
    FinishAudio,
    NoteHeard,
    Order,
    RenderSegment,
    SegmentMade,
)
from tts_service.types import AudioFormat, EncodedPiece, ModuleName

CHUNK_SECONDS: Final = 0.04
PIECE: Final = np.sin(np.arange(960, dtype=np.float32) * 0.1) * np.float32(0.3)
BLOCK_PIECES, BLOCKS_PER_SEGMENT = 5, 5
"""Blocks are of the size that the watermark brings at once, about; a segment is a second."""

Coding = AudioEncoder | CarriedAudio


class PreparedRenderer:
    """Hands out a second of pieces for each segment, twice as fast as they are played."""

    def __init__(self, emit: Emit, executor: ThreadPoolExecutor, coding: Callable[[AudioFormat], Coding]) -> None:
        self._emit = emit
        self._executor = executor
        self._coding = coding
        self._orders: asyncio.Queue[RenderSegment | FinishAudio] = asyncio.Queue()
        self._encoders: dict[str, Coding] = {}
        self._samples = 0

    def __repr__(self) -> str:
        return f"<PreparedRenderer {self._orders.qsize()} orders>"

    def submit(self, order: Order) -> None:
        """Take an order."""
        if not isinstance(order, DiscardAudio | NoteHeard):
            self._orders.put_nowait(order)

    async def run(self) -> None:
        """Carry out orders until cancelled."""
        while True:
            order = await self._orders.get()
            encoder = self._encoders.setdefault(order.utterance_id, self._coding(order.config.audio_format))
            if isinstance(order, RenderSegment):
                await self._segment(order, encoder)
            else:
                piece = encoder.finish()
                self._emit(AudioFinished(utterance_id=order.utterance_id, piece=piece, compute_seconds=0.0))

    async def _segment(self, order: RenderSegment, encoder: Coding) -> None:
        start, loop = self._samples, asyncio.get_running_loop()
        for _ in range(BLOCKS_PER_SEGMENT):
            for piece in await loop.run_in_executor(self._executor, _block, encoder):
                self._samples += piece.sample_count
                self._emit(AudioMade(utterance_id=order.utterance_id, piece=piece))
            await asyncio.sleep(BLOCK_PIECES * CHUNK_SECONDS / 2)
        self._emit(
            SegmentMade(
                utterance_id=order.utterance_id,
                segment=order.segment,
                sample_start=start,
                sample_end=self._samples,
                compute_seconds=0.0,
            )
        )


def _block(encoder: Coding) -> list[EncodedPiece]:
    return [encoder.write(PIECE) for _ in range(BLOCK_PIECES)]


class PreparedSpeech:
    """The engine in the front end's process."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor

    def __repr__(self) -> str:
        return "<PreparedSpeech>"

    def prefetch(self, model: str) -> None:
        """Let it pass: there is nothing to fetch."""

    def renderer(self, emit: Emit) -> PreparedRenderer:
        """Return what carries out a session's orders."""
        return PreparedRenderer(emit, self._executor, AudioEncoder)


class _Ears:
    """Hears what an engine tells of itself, and lets it pass."""

    def loading(self, stage: str, done_bytes: int, total_bytes: int) -> None:
        """Let it pass."""

    def stepped(self, modules: frozenset[ModuleName], seconds: float) -> None:
        """Let it pass."""

    def ran(self, part: Part, seconds: float, expected_seconds: float) -> None:
        """Let it pass."""

    def moved(self, move: Move, moved_bytes: int, seconds: float) -> None:
        """Let it pass."""

    def reported(self, report: ResidencyReport, broken: tuple[ModuleName, ...], late: LateCounts) -> None:
        """Let it pass."""

    def traced(self) -> None:
        """Let it pass."""

    def __repr__(self) -> str:
        return "<_Ears>"


@contextlib.asynccontextmanager
async def prepared_speech(*, own_process: bool) -> AsyncIterator[SpeechEngine]:
    """Give the engine, here or in a process of its own."""
    if not own_process:
        with ThreadPoolExecutor(1) as executor:
            yield PreparedSpeech(executor)
        return
    ours, child = _started()
    channel = await Channel.over(ours, says=front_words(), hears=engine_words())
    coders = ThreadPoolExecutor(CODING_THREADS)
    speech = RemoteSpeech(_Ears(), retry_seconds=lambda: 1.0, loop=asyncio.get_running_loop(), coders=coders)
    speech.attach(channel)
    listening = asyncio.create_task(_heard(channel, speech))
    try:
        yield speech
    finally:
        listening.cancel()
        await channel.close()
        child.wait()
        coders.shutdown()


def _started() -> "tuple[socket.socket, subprocess.Popen[bytes]]":
    """Start an engine; return our end of the socket to it."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "benchmarks.prepared_engine", str(theirs.fileno())]
    with theirs:
        return ours, subprocess.Popen(command, pass_fds=[theirs.fileno()])


async def _heard(channel: Channel, speech: RemoteSpeech) -> None:
    while (words := await channel.heard()) is not None:
        speech.take(words)


async def _serve(end: socket.socket) -> None:
    """Carry out what the front end orders until it has gone."""
    channel = await Channel.over(end, says=engine_words(), hears=front_words())
    renderers: dict[int, tuple[PreparedRenderer, asyncio.Task[None]]] = {}
    with ThreadPoolExecutor(1) as executor:
        while (words := await channel.heard()) is not None:
            for word in words:
                _take(word, channel, renderers, executor)
            await channel.drained()
    for _, task in renderers.values():
        task.cancel()
    await asyncio.gather(*(task for _, task in renderers.values()), return_exceptions=True)


def _take(word: Any, channel: Channel, renderers: dict[int, Any], executor: ThreadPoolExecutor) -> None:
    match word:
        case Ordered(session=session, order=order):
            if session not in renderers:
                renderer = PreparedRenderer(
                    lambda event: channel.say(Rendered(session=session, event=event)),
                    executor,
                    lambda _format: CarriedAudio(),
                )
                renderers[session] = renderer, asyncio.create_task(renderer.run())
            renderers[session][0].submit(order)
        case SessionEnded(session=session) if session in renderers:
            renderers.pop(session)[1].cancel()
        case _:
            pass


if __name__ == "__main__":
    uvloop.run(_serve(socket.socket(fileno=int(sys.argv[1]))))
