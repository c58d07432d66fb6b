"""CreateVoice: collects an upload within its limits, and has the voice made.

The encoders are called with the first bytes, so that they are there when the upload ends, and claimed until the voice
is made; then they leave by themselves. A client that goes away ends the work, and nothing is stored.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from greenroom.tts.v1 import tts_pb2 as pb
from tts_service.api.responses import wire_voice, wire_voice_limits
from tts_service.api.sessions import Sessions
from tts_service.engine_seam import VoiceMaking
from tts_service.errors import CallerError, Reason, ServiceError, bad_config
from tts_service.speech.new_voice import NewVoice, VoiceContent, resolve_new_voice
from tts_service.speech.reference_audio import REFERENCE_LIMITS, ReferenceLimits
from tts_service.speech.session_config import Offer

_CONTENTS: Mapping[int, VoiceContent] = {
    pb.VOICE_CONTENT_UNSPECIFIED: VoiceContent.REFERENCE_AUDIO,
    pb.VOICE_CONTENT_REFERENCE_AUDIO: VoiceContent.REFERENCE_AUDIO,
    pb.VOICE_CONTENT_UPSTREAM_CONDITIONALS: VoiceContent.UPSTREAM_CONDITIONALS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceUploadLimits:
    """How much is taken, and how long an upload may take."""

    reference: ReferenceLimits = REFERENCE_LIMITS
    bytes: int = 32 * 1024 * 1024
    upload_seconds: float = 60.0

    def message(self) -> pb.Limits:
        """Return what a client may want to know of them."""
        return wire_voice_limits(
            min_seconds=self.reference.min_seconds, max_seconds=self.reference.max_seconds, max_bytes=self.bytes
        )


class VoiceUploads:
    """Has voices made of what clients upload; `places` bounds the uploads at once and hears of a drain."""

    def __init__(self, makes: VoiceMaking, offer: Offer, *, limits: VoiceUploadLimits, places: Sessions) -> None:
        self.limits = limits
        self.makes = makes
        self.places = places
        self._offer = offer

    async def create(self, request_iterator: AsyncIterator[pb.CreateVoiceRequest]) -> pb.CreateVoiceResponse:
        """Read the upload and answer with the voice; raise BAD_CONFIG, BAD_AUDIO, AT_CAPACITY or what leases raise."""
        with self.places.admitted(), ExitStack() as called:
            try:
                async with asyncio.timeout(self.limits.upload_seconds):
                    wanted, content = await self._upload(request_iterator, called)
            except TimeoutError:
                message = f"the upload was not complete within {self.limits.upload_seconds:g} s"
                raise ServiceError(Reason.IDLE_TIMEOUT, message) from None
            facts, already_there = await self.makes.made(wanted, content)
        return pb.CreateVoiceResponse(voice=wire_voice(facts), already_there=already_there)

    # --- the upload ---------------------------------------------------------------------------------------------

    async def _upload(
        self, request_iterator: AsyncIterator[pb.CreateVoiceRequest], called: ExitStack
    ) -> tuple[NewVoice, bytes]:
        wanted: NewVoice | None = None
        data = bytearray()
        async for request in request_iterator:
            if request.WhichOneof("request") == "spec":
                if wanted is not None:
                    raise bad_config("spec", "was given twice; it comes once, first")
                wanted = self._wanted(request.spec)
                continue
            if wanted is None:
                raise bad_config("spec", "must come first, before content")
            if not data and request.content and wanted.content is VoiceContent.REFERENCE_AUDIO:
                called.enter_context(self.makes.called())
            data += request.content
            if len(data) > self.limits.bytes:
                raise CallerError(
                    Reason.BAD_AUDIO, f"the upload holds more than {self.limits.bytes} bytes; {self._advice()}"
                )
        if wanted is None:
            raise bad_config("spec", "is missing; send it first, then content")
        return wanted, bytes(data)

    def _wanted(self, spec: pb.VoiceSpec) -> NewVoice:
        if spec.content not in _CONTENTS:
            raise bad_config("spec.content", f"{spec.content} is no value that this version knows")
        return resolve_new_voice(
            display_name=spec.display_name,
            model=spec.model,
            languages=tuple(spec.languages),
            content=_CONTENTS[spec.content],
            offer=self._offer,
        )

    def _advice(self) -> str:
        return f"{self.limits.reference.max_seconds:g} s of audio are enough: cut it, or send FLAC, Opus or MP3"

    def __repr__(self) -> str:
        return f"<VoiceUploads {self.places!r} for {self.makes!r}>"
