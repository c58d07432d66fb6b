"""Greenroom under asyncio.

    async with Client("127.0.0.1:50051") as client:
        async for chunk in client.synthesize("Good evening."):
            play(chunk.data)

Reading order: this file (the client), `aio_session`, `aio_utterance` and `aio_speech`, `aio_synthesis` (whole texts),
`aio_line` (the shell around one session's RPC), `aio_connection` (the channel).
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack
from weakref import WeakSet

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from greenroom.tts.v1 import tts_pb2
from greenroom_client.aio_connection import Connection
from greenroom_client.aio_line import Line, OnEvent
from greenroom_client.aio_session import Session
from greenroom_client.aio_speech import Speech
from greenroom_client.aio_synthesis import Synthesis
from greenroom_client.aio_upload import uploaded
from greenroom_client.aio_utterance import FlushTicket, Utterance
from greenroom_client.caller_input import whole_text
from greenroom_client.catalog_messages import (
    SERVICE_NAME,
    health_value,
    new_voice_value,
    service_info,
    voice_spec_message,
    voice_value,
    watermark_value,
)
from greenroom_client.config import ConfigFields, Encoding, SessionConfig
from greenroom_client.config_messages import audio_format_message, config_message
from greenroom_client.conversation import Conversation
from greenroom_client.errors import NotFoundError, ProtocolError, no_answer
from greenroom_client.options import DEFAULT_OPTIONS, ClientOptions
from greenroom_client.retries import ONE_ATTEMPT
from greenroom_client.statuses import from_rpc_error
from greenroom_client.targets import DEFAULT_TARGET
from greenroom_client.uploads import AudioSource, coding_of, is_repeatable
from greenroom_client.values import Health, NewVoice, ServiceInfo, Voice, VoiceContent, Watermark

if TYPE_CHECKING:
    from greenroom_client.aio_synthesis import SynthesisCall

    DetectCall = grpc.aio.StreamUnaryCall[tts_pb2.DetectWatermarkRequest, tts_pb2.DetectWatermarkResponse]

__all__ = ["Client", "FlushTicket", "Session", "Speech", "Synthesis", "Utterance"]


class Client:
    """A connection to the service. Use it as a block, within one event loop; sessions of it run side by side."""

    def __init__(self, target: str = DEFAULT_TARGET, options: ClientOptions = DEFAULT_OPTIONS) -> None:
        self._connection = Connection(target, options)
        self._options = options
        self._lines: WeakSet[Line] = WeakSet()

    # --- speech -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def session(
        self, config: SessionConfig | None = None, *, on_event: OnEvent | None = None, **fields: Unpack[ConfigFields]
    ) -> AsyncGenerator[Session, None]:
        """Open a session for the length of a block: `config`, changed by the other keyword arguments.

        `on_event` hears of progress, notices and segments as they come; it must be quick, and if it raises, the session
        ends. Leaving the block interrupts whatever is still open.
        """
        session = await self.open_session(config, on_event=on_event, **fields)
        async with session:
            yield session

    async def open_session(
        self, config: SessionConfig | None = None, *, on_event: OnEvent | None = None, **fields: Unpack[ConfigFields]
    ) -> Session:
        """Open a session that lives until it, or the client, is closed. Raises the service's answer if it refuses."""
        wanted = (config or SessionConfig()).with_fields(**fields)

        async def attempt(left_seconds: float) -> Session:
            call = self._connection.stub.StreamingSynthesize(metadata=self._options.metadata_pairs)
            line = Line(call, Conversation(self._options.read_limits), on_event=on_event, clock=time.monotonic)
            self._lines.add(line)
            return Session(line, await line.open(wanted, timeout_seconds=left_seconds))

        return await self._connection.retrying(attempt, timeout_seconds=self._options.answer_timeout_seconds)

    def synthesize(
        self,
        text: str,
        config: SessionConfig | None = None,
        *,
        timeout_seconds: float | None = None,
        **fields: Unpack[ConfigFields],
    ) -> Synthesis:
        """Return the speech of a whole text, to iterate over or to `collect`; nothing is sent before that.

        `timeout_seconds` bounds all of it; the default does not. Raises ValueError for a text that fits no message.
        """
        wanted = (config or SessionConfig()).with_fields(**fields)
        request = tts_pb2.SynthesizeRequest(text=whole_text(text), config=config_message(wanted))

        async def attempt(left_seconds: float) -> "tuple[SynthesisCall, tts_pb2.SynthesizeResponse]":
            call = self._connection.stub.Synthesize(
                request, timeout=timeout_seconds, metadata=self._options.metadata_pairs
            )
            return call, await _first_answer(call, left_seconds)

        first_seconds = self._options.first_audio_timeout_seconds
        return Synthesis(lambda: self._connection.retrying(attempt, timeout_seconds=first_seconds))

    # --- about the service --------------------------------------------------------------------------------------

    async def voices(self) -> tuple[Voice, ...]:
        """Return all voices, in the order of their ids."""
        voices: list[Voice] = []
        request = tts_pb2.ListVoicesRequest()
        while True:
            page = await self._connection.ask(self._connection.stub.ListVoices, request)
            voices += [voice_value(voice) for voice in page.voices]
            if not page.next_page_token:
                return tuple(voices)
            if page.next_page_token == request.page_token:
                raise ProtocolError("the service gives the same page of voices again and again")
            request = tts_pb2.ListVoicesRequest(page_token=page.next_page_token)

    async def voice(self, voice_id: str) -> Voice:
        """Return one voice. Raises NotFoundError."""
        request = tts_pb2.GetVoiceRequest(voice=voice_id)
        return voice_value((await self._connection.ask(self._connection.stub.GetVoice, request)).voice)

    async def info(self) -> ServiceInfo:
        """Return what the service can do."""
        request = tts_pb2.GetServiceInfoRequest()
        return service_info(await self._connection.ask(self._connection.stub.GetServiceInfo, request))

    async def health(self, service: str = SERVICE_NAME) -> Health:
        """Return what the standard health check says about a service; "" stands for the whole server."""
        stub = health_pb2_grpc.HealthStub(self._connection.channel)
        try:
            answer = await self._connection.ask(stub.Check, health_pb2.HealthCheckRequest(service=service))
        except NotFoundError:
            return Health.SERVICE_UNKNOWN
        return health_value(answer)

    async def detect_watermark(
        self, source: AudioSource, *, encoding: Encoding | None = None, sample_rate_hertz: int | None = None
    ) -> Watermark:
        """Say whether audio carries the watermark. The coding is told from a path's suffix or a file's first bytes.

        Raw codings need `sample_rate_hertz` besides. Raises ValueError, OSError (files) or the service's answer.
        """
        format_ = audio_format_message(encoding or coding_of(source), sample_rate_hertz)

        async def attempt(left_seconds: float) -> Watermark:
            call = self._connection.stub.DetectWatermark(timeout=left_seconds, metadata=self._options.metadata_pairs)
            first = tts_pb2.DetectWatermarkRequest(audio_format=format_)
            return watermark_value(
                await uploaded(call, first, source, lambda piece: tts_pb2.DetectWatermarkRequest(content=piece))
            )

        return await self._connection.retrying(
            attempt,
            timeout_seconds=self._options.detect_timeout_seconds,
            policy=None if is_repeatable(source) else ONE_ATTEMPT,
        )

    # --- voices -------------------------------------------------------------------------------------------------

    async def create_voice(
        self,
        source: AudioSource,
        *,
        display_name: str | None = None,
        model: str | None = None,
        languages: Iterable[str] = (),
        content: VoiceContent = VoiceContent.REFERENCE_AUDIO,
    ) -> NewVoice:
        """Make a voice of a recording: a file's path, its bytes, or its bytes as they come.

        The same bytes for the same model give the same voice. Raises OSError (files) or the service's answer.
        """
        spec = voice_spec_message(display_name=display_name, model=model, languages=languages, content=content)

        async def attempt(left_seconds: float) -> NewVoice:
            call = self._connection.stub.CreateVoice(timeout=left_seconds, metadata=self._options.metadata_pairs)
            first = tts_pb2.CreateVoiceRequest(spec=spec)
            return new_voice_value(
                await uploaded(call, first, source, lambda piece: tts_pb2.CreateVoiceRequest(content=piece))
            )

        return await self._connection.retrying(
            attempt,
            timeout_seconds=self._options.create_voice_timeout_seconds,
            policy=None if is_repeatable(source) else ONE_ATTEMPT,
        )

    async def delete_voice(self, voice_id: str) -> None:
        """Delete a voice; speech with it that has begun goes on. Raises NotFoundError, or for a model's own voice."""
        request = tts_pb2.DeleteVoiceRequest(voice=voice_id)
        await self._connection.ask(self._connection.stub.DeleteVoice, request)

    # --- opening and closing ------------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Make the client usable; nothing is dialled before the first call."""
        self._connection.open()
        return self

    async def close(self) -> None:
        """Close the client's sessions and its connection."""
        await asyncio.gather(*(line.close() for line in tuple(self._lines)))
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Client {self._connection!r}>"


async def _first_answer(call: "SynthesisCall", timeout_seconds: float) -> tts_pb2.SynthesizeResponse:
    """Return the first answer to a whole text but notices, or raise what came instead; the call is over then."""
    try:
        async with asyncio.timeout(timeout_seconds):
            response = await call.read()
            while isinstance(response, tts_pb2.SynthesizeResponse) and response.HasField("notice"):
                response = await call.read()
    except TimeoutError:
        message = f"no speech came within {timeout_seconds:.3g} s"
        raise no_answer(message) from None
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    if not isinstance(response, tts_pb2.SynthesizeResponse):
        raise ProtocolError("the service ended the speech before it began")
    return response
