"""CreateVoice: collects an upload within its limits, makes the voice beside speech, and stores it.

The encoders are called with the first bytes, so that they are there when the upload ends, and claimed until the voice
is made; then they leave by themselves. A client that goes away ends the work after the step under way, and nothing is
stored.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass

from greenroom.tts.v1 import tts_pb2 as pb
from tts_service.api.responses import wire_voice, wire_voice_limits
from tts_service.api.sessions import Sessions
from tts_service.engine import Engine
from tts_service.errors import CallerError, Reason, ServiceError, bad_config
from tts_service.speech.new_voice import NewVoice, VoiceContent, resolve_new_voice
from tts_service.speech.reference_audio import REFERENCE_LIMITS, ReferenceLimits, read_reference
from tts_service.speech.session_config import Offer, VoiceFacts
from tts_service.speech.uploaded_conditionals import read_uploaded_conditionals
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.speech.voice_encoding import ENCODER_MODULES, EncodingRules, VoiceEncoding
from tts_service.speech.voice_store import VoiceStore
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, ModuleName

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
    """Makes voices of what clients upload. `rules` are those of each model that makes voices, by its id.

    `places` bounds the uploads at once and hears of a drain, `executor` how many of them compute.
    """

    def __init__(
        self,
        engine: Engine,
        offer: Offer,
        store: VoiceStore,
        *,
        rules: Mapping[str, EncodingRules],
        limits: VoiceUploadLimits,
        places: Sessions,
        executor: Executor,
    ) -> None:
        self.limits = limits
        self.store = store
        self._engine = engine
        self._offer = offer
        self._rules = rules
        self.places = places
        self._executor = executor

    async def create(self, request_iterator: AsyncIterator[pb.CreateVoiceRequest]) -> pb.CreateVoiceResponse:
        """Read the upload and answer with the voice; raise BAD_CONFIG, BAD_AUDIO, AT_CAPACITY or what leases raise."""
        with self.places.admitted(), ExitStack() as called:
            try:
                async with asyncio.timeout(self.limits.upload_seconds):
                    wanted, content = await self._upload(request_iterator, called)
            except TimeoutError:
                message = f"the upload was not complete within {self.limits.upload_seconds:g} s"
                raise ServiceError(Reason.IDLE_TIMEOUT, message) from None
            facts, already_there = await self._made(wanted, content)
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
                self._call_encoders(called)
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

    def _call_encoders(self, called: ExitStack) -> None:
        """Have the encoders come while the rest is uploaded; whether they came shows when they are leased."""
        called.enter_context(self._engine.residency.claim(ENCODER_MODULES))
        coming = self._engine.call(ENCODER_MODULES)
        if coming is not None:
            called.callback(coming.cancel)

    # --- the voice ----------------------------------------------------------------------------------------------

    async def _made(self, wanted: NewVoice, content: bytes) -> tuple[VoiceFacts, bool]:
        """Make the voice in a thread of its own; when whoever waits is cancelled, so is the work."""
        gone = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, self._make, wanted, content, gone.is_set)
        finally:
            gone.set()

    def _make(self, wanted: NewVoice, content: bytes, is_gone: Callable[[], bool]) -> tuple[VoiceFacts, bool]:
        voice_id = self.store.voice_id(wanted.model, content)
        known = self.store.facts(voice_id)
        if known is not None:
            return known, True
        voice, description = self._voice(wanted, content, is_gone)
        _check_wanted(is_gone)
        return self.store.add(wanted.facts(voice_id, description), voice)

    def _voice(self, wanted: NewVoice, content: bytes, is_gone: Callable[[], bool]) -> tuple[VoiceConditionals, str]:
        rules = self._rules[wanted.model]
        if wanted.content is VoiceContent.UPSTREAM_CONDITIONALS:
            voice = read_uploaded_conditionals(content, max_prompt_tokens=rules.prompt_tokens)
            return voice, "Imported from upstream's conditionals."
        samples = read_reference(content, self.limits.reference)
        encoding = VoiceEncoding(samples, rules)
        while modules := encoding.next_modules:
            _check_wanted(is_gone)
            self._step(encoding, modules)
        return encoding.voice(), f"Made from {len(samples) / MODEL_SAMPLE_RATE_HERTZ:.1f} s of reference audio."

    def _step(self, encoding: VoiceEncoding, modules: frozenset[ModuleName]) -> None:
        (module,) = modules
        self._engine.borrow(module, lambda lent: encoding.step({module: lent}))

    def __repr__(self) -> str:
        return f"<VoiceUploads {self.places!r} into {self.store!r}>"


def _check_wanted(is_gone: Callable[[], bool]) -> None:
    """Raise if nobody waits for the voice any more; then nobody hears of this error either."""
    if is_gone():
        raise ServiceError(Reason.ENGINE_FAULT, "the client went away")
