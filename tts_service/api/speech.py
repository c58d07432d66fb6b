"""The speech servicer: each RPC is admitted, translated, and handed on."""

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import structlog

from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc as pb_grpc
from tts_service.api import requests, responses, voices
from tts_service.api.admissions import Admissions
from tts_service.api.callers import Caller, caller_of
from tts_service.api.failed_calls import FailedCalls
from tts_service.api.openings import WHOLE_TEXT_ID, check_whole_text, first_config, whole_utterance
from tts_service.api.session_shell import SessionShell, Write
from tts_service.api.sessions import Sessions
from tts_service.api.speech_watch import SpeechWatch, Unwatched, log_message
from tts_service.api.statuses import abort_async
from tts_service.api.voice_upload import VoiceUploads
from tts_service.api.watermark_detection import Detection
from tts_service.engine_seam import SpeechEngine
from tts_service.errors import GreenroomError, bad_config
from tts_service.scheduling.admission import AdmissionLimits
from tts_service.scheduling.verdicts import Queued
from tts_service.speech import protocol
from tts_service.speech.new_voice import NO_VOICES_HERE
from tts_service.speech.session import Session
from tts_service.speech.session_config import ConfigRequest, Defaults, Offer, Pacing
from tts_service.speech.session_limits import SessionLimits

log = structlog.get_logger(__name__)

CLIENT_KEY = "x-greenroom-client"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechSettings:
    """What the servicer needs to know of the configuration. `log_text` lets spoken text into the log."""

    service_name: str
    version: str
    limits: SessionLimits
    max_buffer_delay_seconds: float = 3.0
    max_audio_ahead_seconds: float = 4.0
    log_text: bool = False
    client_key: str = CLIENT_KEY
    """Of the metadata that names for whom sessions are counted; empty for none."""


class SpeechService(pb_grpc.TextToSpeechServiceServicer):
    """TextToSpeechService over one engine."""

    def __init__(
        self,
        *,
        engine: SpeechEngine,
        offer: Offer,
        sessions: Sessions,
        admissions: Admissions | None = None,
        settings: SpeechSettings,
        detection: Detection,
        clock: Callable[[], float],
        voices: VoiceUploads | None = None,
        watch: SpeechWatch | None = None,
    ) -> None:
        self._engine = engine
        self._offer = offer
        self._sessions = sessions
        self._admissions = admissions or Admissions(sessions, AdmissionLimits(sessions=sessions.limit), clock=clock)
        self._settings = settings
        self._detection = detection
        self._clock = clock
        self._uploads = voices
        self._watch = Unwatched() if watch is None else watch
        self._failed = FailedCalls(clock)
        self._wire_limits = responses.wire_limits(
            settings.limits,
            sessions=sessions.limit,
            detect_seconds=detection.limits.seconds,
            detect_bytes=detection.limits.bytes,
        )
        if voices is not None:
            self._wire_limits.MergeFrom(voices.limits.message())

    @property
    def places(self) -> tuple[Sessions, ...]:
        """Who must hear of a drain besides the sessions: uploads, which end like them or are refused."""
        uploads = () if self._uploads is None else (self._uploads.places,)
        return (self._detection.places, *uploads)

    # --- speech -------------------------------------------------------------------------------------------------

    async def StreamingSynthesize(  # type: ignore[override]  # noqa: N802  # The wire's name; grpc.aio also takes handlers that write.
        self, request_iterator: AsyncIterator[pb.StreamingSynthesizeRequest], context: Any
    ) -> None:
        """Serve a session."""
        session_id = uuid.uuid4().hex

        async def tell_queued(place: Queued) -> None:
            log.info("session_waits", position=place.position, seconds=round(place.wait_seconds, 2))
            await context.write(pb.StreamingSynthesizeResponse(notice=responses.queued(place)))

        with structlog.contextvars.bound_contextvars(session_id=session_id):
            try:
                with self._admissions.opening():
                    session = await self._opened(request_iterator)
                async with self._admissions.admitted(self._caller(context, session), tell_queued):
                    await self._session(session, session_id, request_iterator, context)
            except GreenroomError as error:
                self._failed.note("session_failed", error)
                await self._refuse(context, error)

    async def _opened(self, request_iterator: AsyncIterator[pb.StreamingSynthesizeRequest]) -> Session:
        """Return the session that a client asks for; nothing is done for it before it is let in."""
        config = await self._sessions.unless_draining(
            first_config(request_iterator, self._settings.limits.idle_timeout_seconds)
        )
        return self._open(requests.config_request(config, streaming=True), Pacing.REALTIME)

    def _caller(self, context: Any, session: Session) -> Caller:
        return caller_of(context, session.config, client_key=self._settings.client_key, now=self._clock())

    async def _session(
        self,
        session: Session,
        session_id: str,
        request_iterator: AsyncIterator[pb.StreamingSynthesizeRequest],
        context: Any,
    ) -> None:
        self._engine.prefetch(session.config.model)

        async def write(message: protocol.ServerMessage) -> None:
            self._tell(message, session)
            await context.write(responses.session_response(message, session_id=session_id, limits=self._wire_limits))

        shell = self._shell(session, write)
        log.info("session_opened", voice=session.config.voice, model=session.config.model)
        self._watch.opened(session.config, streaming=True)
        with self._sessions.listed(shell):
            try:
                await shell.run(self._client_messages(request_iterator))
            finally:
                log.info("session_closed")

    async def Synthesize(  # type: ignore[override]  # noqa: N802  # As above.
        self, request: pb.SynthesizeRequest, context: Any
    ) -> None:
        """Speak one text, unpaced."""

        async def tell_queued(place: Queued) -> None:
            await context.write(pb.SynthesizeResponse(notice=responses.queued(place)))

        with structlog.contextvars.bound_contextvars(session_id=uuid.uuid4().hex):
            try:
                session = self._asked(request)
                async with self._admissions.admitted(self._caller(context, session), tell_queued):
                    await self._whole_text(session, request, context)
            except GreenroomError as error:
                self._failed.note("synthesis_failed", error)
                await self._refuse(context, error)

    def _asked(self, request: pb.SynthesizeRequest) -> Session:
        """Return the session that one whole text is to be."""
        check_whole_text(request.text, most_bytes=self._settings.limits.utterance_text_bytes)
        return self._open(requests.whole_text_request(request.config), Pacing.NONE)

    async def _whole_text(self, session: Session, request: pb.SynthesizeRequest, context: Any) -> None:
        log.info("synthesis_opened", voice=session.config.voice, model=session.config.model)
        self._watch.opened(session.config, streaming=False)
        if self._settings.log_text:
            log.info("text_received", utterance_id=WHOLE_TEXT_ID, text=request.text)

        async def write(message: protocol.ServerMessage) -> None:
            self._tell(message, session)
            if isinstance(message, protocol.UtteranceError):
                raise message.error
            response = responses.synthesize_response(message)
            if response is not None:
                await context.write(response)

        shell = self._shell(session, write)
        with self._sessions.listed(shell):
            await shell.run(whole_utterance(request.text))

    def _shell(self, session: Session, write: Write) -> SessionShell:
        return SessionShell(session, self._engine.renderer, write, self._clock)

    def _open(self, asked: ConfigRequest, pacing: Pacing) -> Session:
        defaults = Defaults(
            seed=secrets.randbits(32),
            pacing=pacing,
            max_buffer_delay=self._settings.max_buffer_delay_seconds,
            max_audio_ahead=self._settings.max_audio_ahead_seconds,
        )
        return Session(asked, self._offer, defaults, self._settings.limits, now=self._clock())

    async def _client_messages(
        self, request_iterator: AsyncIterator[pb.StreamingSynthesizeRequest]
    ) -> AsyncIterator[protocol.ClientMessage]:
        async for request in request_iterator:
            message = requests.client_message(request)
            if self._settings.log_text and isinstance(message, protocol.TextChunk):
                log.info("text_received", utterance_id=message.utterance_id, text=message.text)
            yield message

    def _tell(self, message: protocol.ServerMessage, session: Session) -> None:
        log_message(message)
        self._watch.said(message, session.config)

    async def _refuse(self, context: Any, error: GreenroomError) -> NoReturn:
        self._watch.failed(error.reason)
        await abort_async(context, error)

    # --- everything else ----------------------------------------------------------------------------------------

    async def GetVoice(  # noqa: N802  # The wire's name.
        self, request: pb.GetVoiceRequest, context: Any
    ) -> pb.GetVoiceResponse:
        """Describe one voice."""
        try:
            return await asyncio.to_thread(voices.get_voice, self._offer, request)
        except GreenroomError as error:
            await abort_async(context, error)

    async def ListVoices(  # noqa: N802  # The wire's name.
        self, request: pb.ListVoicesRequest, context: Any
    ) -> pb.ListVoicesResponse:
        """List voices."""
        try:
            return await asyncio.to_thread(voices.list_voices, self._offer, request)
        except GreenroomError as error:
            await abort_async(context, error)

    async def CreateVoice(  # noqa: N802  # The wire's name.
        self, request_iterator: AsyncIterator[pb.CreateVoiceRequest], context: Any
    ) -> pb.CreateVoiceResponse:
        """Make a voice of what is uploaded."""
        try:
            made = await self._voice_uploads().create(request_iterator)
        except GreenroomError as error:
            log.info("voice_refused", reason=error.reason.value, message=error.message)
            await self._refuse(context, error)
        except Exception as error:  # noqa: BLE001  # What an upload makes a library raise goes to the log alone.
            await abort_async(context, error)
        log.info("voice_created", voice=made.voice.id, already_there=made.already_there)
        self._watch.voice_made()
        return made

    def _voice_uploads(self) -> VoiceUploads:
        if self._uploads is None:
            raise bad_config("spec.model", NO_VOICES_HERE)
        return self._uploads

    async def DeleteVoice(  # noqa: N802  # The wire's name.
        self, request: pb.DeleteVoiceRequest, context: Any
    ) -> pb.DeleteVoiceResponse:
        """Delete a voice."""
        makes = None if self._uploads is None else self._uploads.makes
        try:
            return await asyncio.to_thread(voices.delete_voice, self._offer, makes, request)
        except GreenroomError as error:
            await abort_async(context, error)

    async def DetectWatermark(  # noqa: N802  # The wire's name.
        self, request_iterator: AsyncIterator[pb.DetectWatermarkRequest], context: Any
    ) -> pb.DetectWatermarkResponse:
        """Look for the watermark."""
        try:
            found = await self._detection.detect(request_iterator)
        except GreenroomError as error:
            await self._refuse(context, error)
        self._watch.looked(pb.WatermarkVerdict.Name(found.verdict))
        return found

    async def GetServiceInfo(  # noqa: N802  # The wire's name.
        self, request: pb.GetServiceInfoRequest, context: Any
    ) -> pb.GetServiceInfoResponse:
        """Say what this service can do."""
        del request, context
        return responses.service_info(
            self._offer,
            version=self._settings.version,
            service_name=self._settings.service_name,
            limits=self._wire_limits,
        )

    def __repr__(self) -> str:
        return f"<SpeechService {self._settings.service_name!r} | {self._sessions!r}>"
