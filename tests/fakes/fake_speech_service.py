"""A real gRPC speech service on loopback whose voice hums. It keeps the wire contract and does as scripted.

`serving()` runs one inside the test's event loop; `python -m tests.fakes.fake_speech_service` runs one by itself.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Never

import grpc
from google.rpc import status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from greenroom.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.fakes.fake_speech_script import Script, bad_config, status
from tests.fakes.fake_speech_session import FakeSession, SessionRefused
from tests.fakes.fake_speech_utterance import FakeUtterance, Response

MODEL = tts_pb2.Model(
    id="hum",
    description="A sine tone.",
    languages=["en"],
    sample_rate_hertz=24_000,
    default_voice="alto",
    default_sampling={"temperature": 0.8, "top_k": 1_000},
    creates_voices=True,
    tags=["[laugh]"],
    missing_languages=[{"language": "he", "missing": ["dicta"]}],
)
VOICES = {
    name: tts_pb2.Voice(
        id=name, display_name=name.title(), languages=["en"], models=["hum"], description=f"The {name}."
    )
    for name in ("alto", "bass", "tenor")
}
PAGE_SIZE = 2
SERVICE_NAME = "greenroom.tts.v1.TextToSpeechService"
RATES = range(8_000, 48_001)
SEED = 7


class FakeSpeechService(tts_pb2_grpc.TextToSpeechServiceServicer):
    """The service. `sessions` are those begun, `rpcs_open` counts handlers that have not been left."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.sessions: list[FakeSession] = []
        self.rpcs_begun = 0
        self.rpcs_open = 0
        self.left = asyncio.Event()
        self.left.set()
        self.metadata: dict[str, str] = {}
        self.voices = dict(VOICES)
        self.uploaded = b""
        self.spec = tts_pb2.VoiceSpec()
        self.upload_format = tts_pb2.AudioFormat()

    # --- speech -------------------------------------------------------------------------------------------------

    async def StreamingSynthesize(  # noqa: N802 - gRPC's name.
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[Response]:
        """Hold a session."""
        async with self._rpc("session", context):
            session = FakeSession(
                await self._first_config(request_iterator, context), self.script, frozenset(self.voices)
            )
            self.sessions.append(session)
            session.say(Response(session_started=self._started(session)))
            if self.script.speak_of_the_future:
                session.say(Response())
            if self.script.draining_after_start is not None:
                session.say(Response(notice=_draining(self.script.draining_after_start)))
            receiving = asyncio.create_task(session.receive_all(request_iterator))
            try:
                async for response in session.responses():
                    yield response
            except SessionRefused as refused:
                await _abort(context, refused.answer)
            finally:
                receiving.cancel()
                await asyncio.gather(receiving, return_exceptions=True)

    async def _first_config(self, requests: Any, context: Any) -> tts_pb2.SessionConfig:
        first = await anext(aiter(requests), None)
        if first is None or not first.HasField("config"):
            await _abort(context, status(grpc.StatusCode.FAILED_PRECONDITION, "CONFIG_NOT_FIRST", "config comes first"))
        return await self._effective(first.config, context)

    async def _effective(self, config: tts_pb2.SessionConfig, context: Any) -> tts_pb2.SessionConfig:
        """Return the configuration with every default filled in, or end the RPC."""
        effective = tts_pb2.SessionConfig(
            model="hum", voice="alto", language="en", text_aggregation=1, pacing=1, sampling={"seed": SEED}
        )
        effective.audio_format.encoding = tts_pb2.AUDIO_ENCODING_PCM_S16LE
        effective.max_buffer_delay.FromSeconds(3)
        effective.max_audio_ahead.FromSeconds(4)
        effective.MergeFrom(config)
        effective.audio_format.sample_rate_hertz = config.audio_format.sample_rate_hertz or 24_000
        if effective.voice not in self.voices:
            answer = status(grpc.StatusCode.NOT_FOUND, "VOICE_NOT_FOUND", f"no voice {effective.voice!r}")
            await _abort(context, answer)
        if effective.audio_format.sample_rate_hertz not in RATES:
            await _abort(context, bad_config("audio_format.sample_rate_hertz", "8000 to 48000"))
        return effective

    def _started(self, session: FakeSession) -> tts_pb2.SessionStarted:
        return tts_pb2.SessionStarted(
            session_id=f"session-{len(self.sessions)}", effective_config=session.config, limits=self._limits()
        )

    def _limits(self) -> tts_pb2.Limits:
        limits = tts_pb2.Limits(
            utterance_text_bytes=self.script.utterance_text_bytes,
            waiting_utterances=self.script.waiting_utterances,
            waiting_flushes=self.script.waiting_flushes,
            sessions=64,
            detect_audio_bytes=32 << 20,
        )
        limits.idle_timeout.FromSeconds(300)
        limits.max_voice_audio.FromSeconds(60)
        limits.detect_audio.FromSeconds(60)
        return limits

    async def Synthesize(  # noqa: N802 - gRPC's name.
        self, request: tts_pb2.SynthesizeRequest, context: Any
    ) -> AsyncIterator[tts_pb2.SynthesizeResponse]:
        """Speak a whole text."""
        async with self._rpc("synthesize", context):
            if len(request.text.encode()) > self.script.utterance_text_bytes:
                await _abort(context, status(grpc.StatusCode.INVALID_ARGUMENT, "TEXT_TOO_LONG", field_at_fault="text"))
            utterance = FakeUtterance("", await self._effective(request.config, context))
            utterance.write(request.text)
            utterance.end()
            while not utterance.finished:
                utterance.speak()
            for response in utterance.outgoing:
                if response.HasField("audio"):
                    await self._check_script_for(response.audio, context)
                yield _as_synthesis(response)

    async def _check_script_for(self, chunk: tts_pb2.AudioChunk, context: Any) -> None:
        if chunk.sequence == self.script.end_session_after_chunks and self.script.end_session_with is not None:
            await _abort(context, self.script.end_session_with)
        delay_seconds = self.script.chunk_delay_seconds if chunk.sequence else self.script.first_audio_delay_seconds
        await asyncio.sleep(delay_seconds)

    # --- about the service --------------------------------------------------------------------------------------

    async def GetVoice(  # noqa: N802  # The wire's name.
        self, request: tts_pb2.GetVoiceRequest, context: Any
    ) -> tts_pb2.GetVoiceResponse:
        """Describe a voice."""
        async with self._rpc("GetVoice", context):
            if request.voice not in self.voices:
                answer = status(grpc.StatusCode.NOT_FOUND, "VOICE_NOT_FOUND", f"no voice {request.voice!r}")
                await _abort(context, answer)
            return tts_pb2.GetVoiceResponse(voice=self.voices[request.voice])

    async def ListVoices(  # noqa: N802 - gRPC's name.
        self, request: tts_pb2.ListVoicesRequest, context: Any
    ) -> tts_pb2.ListVoicesResponse:
        """List the voices, two a page."""
        async with self._rpc("ListVoices", context):
            start = int(request.page_token or 0)
            end = start + PAGE_SIZE
            next_page = str(end) if end < len(self.voices) else ""
            if self.script.voice_pages_repeat:
                next_page = "2"
            return tts_pb2.ListVoicesResponse(voices=list(self.voices.values())[start:end], next_page_token=next_page)

    async def CreateVoice(  # noqa: N802 - gRPC's name.
        self, request_iterator: Any, context: Any
    ) -> tts_pb2.CreateVoiceResponse:
        """Make a voice of anything that is long enough; its id is made from its bytes."""
        async with self._rpc("CreateVoice", context):
            first = await anext(aiter(request_iterator), None)
            if first is None or not first.HasField("spec"):
                await _abort(context, bad_config("spec", "the spec comes first"))
            self.spec, self.uploaded = first.spec, b""
            async for request in request_iterator:
                self.uploaded += request.content
            if len(self.uploaded) < MODEL.sample_rate_hertz:
                await _abort(context, status(grpc.StatusCode.INVALID_ARGUMENT, "BAD_AUDIO", "the recording is short"))
            name = f"v{hashlib.sha256(self.uploaded).hexdigest()[:32]}"
            already_there = name in self.voices
            if not already_there:
                self.voices[name] = tts_pb2.Voice(
                    id=name, display_name=self.spec.display_name or name, languages=["en"], models=["hum"]
                )
                self.voices[name].create_time.FromSeconds(1_700_000_000)
            return tts_pb2.CreateVoiceResponse(voice=self.voices[name], already_there=already_there)

    async def DeleteVoice(  # noqa: N802 - gRPC's name.
        self, request: tts_pb2.DeleteVoiceRequest, context: Any
    ) -> tts_pb2.DeleteVoiceResponse:
        """Delete a voice that was made."""
        async with self._rpc("DeleteVoice", context):
            if request.voice in VOICES:
                await _abort(context, bad_config("voice", "belongs to a model"))
            if self.voices.pop(request.voice, None) is None:
                answer = status(grpc.StatusCode.NOT_FOUND, "VOICE_NOT_FOUND", f"no voice {request.voice!r}")
                await _abort(context, answer)
            return tts_pb2.DeleteVoiceResponse()

    async def GetServiceInfo(  # noqa: N802 - gRPC's name.
        self, request: tts_pb2.GetServiceInfoRequest, context: Any
    ) -> tts_pb2.GetServiceInfoResponse:
        """Say what the fake can do."""
        del request
        async with self._rpc("GetServiceInfo", context):
            return tts_pb2.GetServiceInfoResponse(
                version="0.0-fake",
                service_name="fake",
                models=[MODEL],
                session_encodings=range(1, 7),
                synthesize_encodings=range(1, 8),
                min_sample_rate_hertz=RATES.start,
                max_sample_rate_hertz=RATES.stop - 1,
                limits=self._limits(),
            )

    async def DetectWatermark(  # noqa: N802 - gRPC's name.
        self, request_iterator: Any, context: Any
    ) -> tts_pb2.DetectWatermarkResponse:
        """Find the watermark in anything that is neither short nor silent."""
        async with self._rpc("DetectWatermark", context):
            first = await anext(aiter(request_iterator), None)
            if first is None or not first.HasField("audio_format"):
                await _abort(context, bad_config("audio_format", "the format comes first"))
            self.upload_format, self.uploaded = first.audio_format, b""
            async for request in request_iterator:
                self.uploaded += request.content
                if len(self.uploaded) > (self.script.detect_fails_after_bytes or 32 << 20):
                    await _abort(context, status(grpc.StatusCode.INVALID_ARGUMENT, "BAD_AUDIO", "too much audio"))
            if len(self.uploaded) < MODEL.sample_rate_hertz:
                return tts_pb2.DetectWatermarkResponse(verdict=tts_pb2.WATERMARK_VERDICT_TOO_SHORT)
            return tts_pb2.DetectWatermarkResponse(verdict=tts_pb2.WATERMARK_VERDICT_PRESENT, score=0.99)

    # --- around every RPC ---------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _rpc(self, name: str, context: Any) -> AsyncIterator[None]:
        self.rpcs_begun += 1
        self.rpcs_open += 1
        self.left.clear()
        self.metadata = dict(context.invocation_metadata())
        try:
            if name in self.script.silent:
                await asyncio.Event().wait()
            if self.script.refusals:
                await _abort(context, self.script.refusals.popleft())
            yield
        finally:
            self.rpcs_open -= 1
            if not self.rpcs_open:
                self.left.set()

    def __repr__(self) -> str:
        return f"<FakeSpeechService {self.rpcs_open} of {self.rpcs_begun} RPCs open>"


class FakeSpeech:
    """A running fake: its address and what it saw."""

    def __init__(self, service: FakeSpeechService, address: str) -> None:
        self.service = service
        self.address = address

    @property
    def session(self) -> FakeSession:
        """The latest session."""
        return self.service.sessions[-1]

    async def wait_until_left(self) -> None:
        """Wait until no RPC is in its handler any more."""
        await self.service.left.wait()

    def __repr__(self) -> str:
        return f"<FakeSpeech {self.address} {self.service!r}>"


@asynccontextmanager
async def serving(script: Script | None = None, *, address: str = "127.0.0.1:0") -> AsyncIterator[FakeSpeech]:
    """Serve on loopback for the length of a block."""
    server = grpc.aio.server()
    service = FakeSpeechService(script or Script())
    tts_pb2_grpc.add_TextToSpeechServiceServicer_to_server(service, server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await checks.set(SERVICE_NAME, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield FakeSpeech(service, address if address.startswith("unix:") else f"127.0.0.1:{port}")
    finally:
        await server.stop(grace=None)


def _as_synthesis(response: Response) -> tts_pb2.SynthesizeResponse:
    match response.WhichOneof("response"):
        case "utterance_started":
            return tts_pb2.SynthesizeResponse(started=response.utterance_started)
        case "audio":
            return tts_pb2.SynthesizeResponse(audio=response.audio)
        case "segment_done":
            return tts_pb2.SynthesizeResponse(segment_done=response.segment_done)
        case "utterance_done":
            return tts_pb2.SynthesizeResponse(done=response.utterance_done)
        case other:
            raise AssertionError(f"a whole text has no {other}")


def _draining(seconds_left: float) -> tts_pb2.ServerNotice:
    notice = tts_pb2.ServerNotice()
    notice.draining.deadline.FromMilliseconds(round(seconds_left * 1000))
    return notice


async def _abort(context: Any, answer: status_pb2.Status) -> Never:
    await context.abort_with_status(rpc_status.to_status(answer))
    raise AssertionError("abort_with_status never returns")


async def _serve_until_stopped() -> None:
    async with serving() as fake:
        print(fake.address, flush=True)  # noqa: T201 - Whoever started it reads the address.
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_until_stopped())
