"""Each kept recording spoken again with nobody else there, and compared: another stream's audio in it would show."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import numpy as np

from benchmarks.load.lines import Lines
from benchmarks.load.manner import Manner
from benchmarks.load.recordings import BYTES_MOST, Recording
from benchmarks.speaking import end, text

SAMPLE_TYPES: Final = {"pcm": "<i2", "float": "<f4", "wav": "<i2"}
"""Encodings whose bytes are samples; a WAV header is even in length and the same each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How far two may differ: the energy of the difference over that of the audio, in the first `seconds`.

    `error` 0 asks for the same bytes. `seconds` 0 means all of it.
    """

    error: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A recording beside the same alone. `error` is infinite where bytes differ that are no samples."""

    session: int
    utterance_id: str
    seconds: float
    error: float
    is_met: bool


def compared(recording: Recording, alone: bytes, *, encoding: str, rate_hertz: int, bound: Bound) -> Comparison:
    """Compare what was recorded, of which there may be less, with the same spoken alone."""
    data = bytes(recording.data)
    kind = SAMPLE_TYPES.get(encoding)
    if kind is None:
        error = 0.0 if alone.startswith(data) else np.inf
        seconds = 0.0
    else:
        error, seconds = _difference(_samples(data, kind), _samples(alone, kind), rate_hertz, bound.seconds)
    return Comparison(
        session=recording.session,
        utterance_id=recording.utterance_id,
        seconds=round(seconds, 2),
        error=float(error),
        is_met=bool(error <= bound.error),
    )


async def spoken_alone(lines: Lines, manner: Manner, recordings: Sequence[Recording], bound: Bound) -> list[Comparison]:
    """Speak each recording again, one after the other."""
    found = []
    for recording in recordings:
        if not recording.data:
            continue
        alone, rate_hertz = await _spoken(lines.stub(recording.session), manner, recording)
        encoding = manner.encoding(recording.session)
        found.append(compared(recording, alone, encoding=encoding, rate_hertz=rate_hertz, bound=bound))
    return found


async def _spoken(stub: Any, manner: Manner, recording: Recording) -> tuple[bytes, int]:
    call = stub.StreamingSynthesize()
    await call.write(manner.first_message(recording.session, is_paced=False))
    await call.write(text(recording.utterance_id, recording.text))
    await call.write(end(recording.utterance_id))
    await call.done_writing()
    alone, rate_hertz, deadline = bytearray(), 24_000, time.monotonic() + 120.0
    while (response := await call.read()) is not grpc.aio.EOF:
        kind = response.WhichOneof("response")
        if kind == "session_started":
            rate_hertz = response.session_started.effective_config.audio_format.sample_rate_hertz or rate_hertz
        elif kind == "audio":
            alone += response.audio.data[: BYTES_MOST - len(alone)]
        if time.monotonic() > deadline:
            call.cancel()
    return bytes(alone), rate_hertz


def _samples(data: bytes, kind: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    whole = len(data) - len(data) % np.dtype(kind).itemsize
    return np.frombuffer(data[:whole], kind).astype(np.float64)


def _difference(heard: Any, alone: Any, rate_hertz: int, seconds: float) -> tuple[float, float]:
    """Return the error, and how many seconds were compared; audio that alone has no counterpart for counts as error."""
    length = len(heard) if seconds <= 0.0 else min(len(heard), round(seconds * rate_hertz))
    heard, counterpart = heard[:length], np.zeros(length)
    counterpart[: min(length, len(alone))] = alone[:length]
    off, all_of_it = np.linalg.norm(heard - counterpart), np.linalg.norm(counterpart)
    error = 0.0 if off == 0.0 else float(off / all_of_it) if all_of_it else float("inf")
    return error, length / rate_hertz
