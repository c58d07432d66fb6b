"""An utterance's events with their audio coded: at once where that is quick, else in a thread, in their order.

Opus, FLAC and long pieces take milliseconds, in which the event loop would serve nobody; what is coded elsewhere
releases Python's lock. An encoder has a memory, so it is used by one thread at a time: what comes meanwhile waits and
goes together. What waits is bounded by what the session has ordered.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Final

from tts_service.speech.encoded_audio import AudioEncoder, carried_waveform
from tts_service.speech.rendering import AudioFinished, AudioMade, RenderEvent
from tts_service.types import AudioFormat, EncodedPiece, Encoding

SLOW_ENCODINGS: Final = frozenset({Encoding.OGG_OPUS, Encoding.FLAC})
CODING_THREADS: Final = 2
"""Opus of 50 sessions takes a fifth of a core; a second thread lets a whole text in FLAC hold nobody up."""
LONG_PIECE_BYTES: Final = 262_144
"""2.7 s. A third of a second at another rate takes 0.04 ms, in Opus 1.2."""

Take = Callable[[RenderEvent | Exception], None]


class CodedEvents:
    """Codes one utterance. `take` hears events, or what a codec raised, in the event loop and never once dropped."""

    def __init__(self, audio_format: AudioFormat, coders: Executor | None, take: Take) -> None:
        self._encoder = AudioEncoder(audio_format)
        self._is_slow = audio_format.encoding in SLOW_ENCODINGS
        self._coders = coders
        self._take = take
        self._waiting: deque[RenderEvent] = deque()
        self._coding: asyncio.Future[Sequence[RenderEvent | Exception]] | None = None
        self._is_dropped = False

    def code(self, event: RenderEvent) -> None:
        """Take an event of the engine's in."""
        if self._coding is not None:
            self._waiting.append(event)
        elif self._coders is not None and self._is_long(event):
            self._code_elsewhere([event], self._coders)
        else:
            self._tell(_all_coded([event], self._encoder))

    def drop(self) -> None:
        """Forget the utterance: nothing is told of it any more."""
        self._is_dropped = True
        self._waiting.clear()
        if self._coding is not None:
            self._coding.cancel()

    def _is_long(self, event: RenderEvent) -> bool:
        match event:
            case AudioMade(piece=piece) | AudioFinished(piece=piece):
                return self._is_slow or len(piece.data) > LONG_PIECE_BYTES
            case _:
                return False

    def _code_elsewhere(self, events: Sequence[RenderEvent], coders: Executor) -> None:
        loop = asyncio.get_running_loop()
        self._coding = loop.run_in_executor(coders, _all_coded, events, self._encoder)
        self._coding.add_done_callback(self._coded)

    def _coded(self, coding: "asyncio.Future[Sequence[RenderEvent | Exception]]") -> None:
        self._coding = None
        if self._is_dropped or coding.cancelled():
            return
        self._tell(coding.result())
        if self._waiting and not self._is_dropped:
            assert self._coders is not None
            events, self._waiting = tuple(self._waiting), deque()
            self._code_elsewhere(events, self._coders)

    def _tell(self, coded: Sequence[RenderEvent | Exception]) -> None:
        for each in coded:
            if not self._is_dropped:
                self._take(each)

    def __repr__(self) -> str:
        return f"<CodedEvents {self._encoder!r} | {len(self._waiting)} wait>"


def _all_coded(events: Sequence[RenderEvent], encoder: AudioEncoder) -> list[RenderEvent | Exception]:
    """Return events with their audio coded, up to the first that cannot be, and then why."""
    coded: list[RenderEvent | Exception] = []
    for event in events:
        try:
            coded.append(_coded(event, encoder))
        except Exception as error:  # noqa: BLE001  # Whatever a codec raises is told, and ends this utterance alone.
            return [*coded, error]
    return coded


def _coded(event: RenderEvent, encoder: AudioEncoder) -> RenderEvent:
    match event:
        case AudioMade(piece=piece):
            return replace(event, piece=encoder.write(carried_waveform(piece)))
        case AudioFinished(piece=piece):
            rest, end = encoder.write(carried_waveform(piece)), encoder.finish()
            data, count = rest.data + end.data, rest.sample_count + end.sample_count
            return replace(event, piece=EncodedPiece(data=data, sample_count=count))
        case _:
            return event
