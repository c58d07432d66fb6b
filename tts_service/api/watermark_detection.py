"""DetectWatermark: collects uploaded audio within its limits and has it looked for."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from greenroom.tts.v1 import tts_pb2 as pb
from tts_service.api.requests import audio_format_of
from tts_service.api.responses import duration
from tts_service.api.sessions import Sessions
from tts_service.engine_seam import WatermarkSearching
from tts_service.errors import CallerError, Reason, ServiceError, bad_config
from tts_service.speech import watermark
from tts_service.types import AudioFormat

_VERDICTS = {
    watermark.Verdict.PRESENT: pb.WATERMARK_VERDICT_PRESENT,
    watermark.Verdict.ABSENT: pb.WATERMARK_VERDICT_ABSENT,
    watermark.Verdict.TOO_SHORT: pb.WATERMARK_VERDICT_TOO_SHORT,
    watermark.Verdict.SILENT: pb.WATERMARK_VERDICT_SILENT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionLimits:
    """How much audio is looked at."""

    seconds: float = 600.0
    bytes: int = 32 * 1024 * 1024
    upload_seconds: float = 300.0


class Detection:
    """Looks for the watermark in audio that clients upload."""

    def __init__(self, search: WatermarkSearching, limits: DetectionLimits, *, places: Sessions) -> None:
        self.limits = limits
        self.places = places
        self._search = search

    async def detect(self, request_iterator: AsyncIterator[pb.DetectWatermarkRequest]) -> pb.DetectWatermarkResponse:
        """Read the upload and answer; raise BAD_CONFIG or BAD_AUDIO."""
        try:
            async with asyncio.timeout(self.limits.upload_seconds):
                audio_format, data = await self._upload(request_iterator)
        except TimeoutError:
            message = f"the upload was not complete within {self.limits.upload_seconds:g} s"
            raise ServiceError(Reason.IDLE_TIMEOUT, message) from None

        with self.places.admitted():
            found = await self._search.look(data, audio_format)
        return pb.DetectWatermarkResponse(
            verdict=_VERDICTS[found.verdict], score=found.score, duration=duration(found.seconds)
        )

    async def _upload(self, request_iterator: AsyncIterator[pb.DetectWatermarkRequest]) -> tuple[AudioFormat, bytes]:
        audio_format: AudioFormat | None = None
        data = bytearray()
        async for request in request_iterator:
            if request.WhichOneof("request") == "audio_format":
                if audio_format is not None:
                    raise bad_config("audio_format", "was given twice; it comes once, first")
                audio_format = audio_format_of(request.audio_format)
                continue
            if audio_format is None:
                raise bad_config("audio_format", "must come first, before content")
            data += request.content
            if len(data) > self.limits.bytes:
                raise CallerError(Reason.BAD_AUDIO, f"the audio holds more than {self.limits.bytes} bytes")
        if audio_format is None:
            raise bad_config("audio_format", "is missing; send it first, then content")
        return audio_format, bytes(data)

    def __repr__(self) -> str:
        return f"<Detection up to {self.limits.seconds:g} s>"
