"""Looks for the watermark in uploads, with the engine's detector, beside speech, not before it."""

import asyncio
from concurrent.futures import Executor

from tts_service.engine import Engine
from tts_service.speech import watermark
from tts_service.speech.decoded_audio import decode_audio
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, WATERMARK_DETECTOR, AudioFormat, Waveform


class _BorrowedDetector:
    """The detector, leased anew for every piece."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def score(self, samples: Waveform) -> float:
        """Return the detector's confidence."""
        return float(self._engine.borrow(WATERMARK_DETECTOR, lambda detector: detector.score(samples)))

    def __repr__(self) -> str:
        return f"<_BorrowedDetector of {self._engine!r}>"


class WatermarkSearch:
    """Decodes at most `max_seconds` of audio and scores it, in `executor`, which bounds how many do so at once."""

    def __init__(self, engine: Engine, *, max_seconds: float, executor: Executor) -> None:
        self._engine = engine
        self._max_seconds = max_seconds
        self._executor = executor

    async def look(self, data: bytes, audio_format: AudioFormat) -> watermark.Detection:
        """Decode and look. Raises CallerError BAD_AUDIO, or what leases raise."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._look, data, audio_format)

    def _look(self, data: bytes, audio_format: AudioFormat) -> watermark.Detection:
        """Decode without a lease, then score piece by piece under one each, so that speech is never held up."""
        samples = decode_audio(data, audio_format, max_seconds=self._max_seconds)
        return watermark.detect(_BorrowedDetector(self._engine), samples, sample_rate_hertz=MODEL_SAMPLE_RATE_HERTZ)

    def __repr__(self) -> str:
        return f"<WatermarkSearch up to {self._max_seconds:g} s>"
