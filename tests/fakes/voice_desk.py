"""CreateVoice and its companions as the service has them, over real gRPC, with tiny encoders under real leases."""

import asyncio
import copy
import gc
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc
from tests.fakes.tiny_encoders import tiny_encoders
from tests.fakes.voices import MODEL, voice_store
from tts_service.api.lenient import without_bad_requests
from tts_service.api.sessions import Sessions
from tts_service.api.speech import SpeechService, SpeechSettings
from tts_service.api.voice_upload import VoiceUploadLimits, VoiceUploads
from tts_service.api.watermark_detection import Detection, DetectionLimits
from tts_service.engine import Engine
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.module_spec import ModuleSpec
from tts_service.renderer import LocalSpeech
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.residency.process_memory import ProcessMemory
from tts_service.residency.types import Tier
from tts_service.speech.session_config import ModelFacts, Offer
from tts_service.speech.session_limits import SessionLimits
from tts_service.speech.voice_encoding import ENCODER_MODULES, encoding_rules
from tts_service.speech.voice_store import VoiceStore
from tts_service.voice_making import VoiceMaker
from tts_service.watermark_search import WatermarkSearch
from tts_service.workers import Workers

PIECE_BYTES = 100_000


class VoiceDesk:
    """A service that makes voices and speaks none, at `address`. `stub` calls it; `residency` shows its encoders."""

    def __init__(self, folder: Path, limits: VoiceUploadLimits, *, places: int) -> None:
        self.encoders = tiny_encoders()
        specs = [
            ModuleSpec(name=name, load=partial(copy.deepcopy, self.encoders[name]), rests_at_home=False)
            for name in sorted(ENCODER_MODULES)
        ]
        mover = Mover(memory=ProcessMemory(), clock=time.perf_counter)
        self.residency = ResidencyManager(specs, mover=mover, linger_seconds=0.2, stay_seconds=0.0)
        self.store: VoiceStore = voice_store(folder)
        self.places = Sessions(limit=places, clock=time.monotonic)
        self.executor = ThreadPoolExecutor(1)
        self.service = self._service(limits)
        self.stub: Any = None
        self.address = ""

    def _service(self, limits: VoiceUploadLimits) -> SpeechService:
        offer = Offer(models=(_model(),), voices=self.store.voices)
        engine = Engine(self.residency, Workers.shared(1), models={}, restore_timeout_seconds=10)
        return SpeechService(
            engine=LocalSpeech(engine),
            offer=offer,
            sessions=Sessions(limit=1, clock=time.monotonic),
            settings=SpeechSettings(service_name="test", version="0", limits=SessionLimits()),
            detection=self._detection(engine),
            clock=time.monotonic,
            voices=VoiceUploads(
                VoiceMaker(
                    engine,
                    self.store,
                    rules={MODEL: encoding_rules(ChatterboxModel.ENGLISH)},
                    executor=self.executor,
                    reference=limits.reference,
                ),
                offer,
                limits=limits,
                places=self.places,
            ),
        )

    def _detection(self, engine: Engine) -> Detection:
        limits = DetectionLimits()
        search = WatermarkSearch(engine, max_seconds=limits.seconds, executor=self.executor)
        return Detection(search, limits, places=self.places)

    def tiers(self) -> set[Tier]:
        """Return where the encoders are."""
        return {module.tier for module in self.residency.report().modules}

    def uses(self) -> int:
        """Return how often encoders are leased or claimed now."""
        return sum(module.leases + module.claims for module in self.residency.report().modules)

    async def create(self, pieces: Iterable[bytes], **spec: Any) -> pb.CreateVoiceResponse:
        """Upload and return the answer. Raises grpc.aio.AioRpcError."""
        answer: pb.CreateVoiceResponse = await self.stub.CreateVoice(requests(pieces, **spec))
        return answer

    def __repr__(self) -> str:
        return f"<VoiceDesk {self.store!r} {self.residency!r}>"


def _model() -> ModelFacts:
    return ModelFacts(
        id=MODEL,
        description="Makes voices.",
        languages=("en", "de"),
        sample_rate_hertz=24_000,
        default_voice="default",
        changes_speaking_rate=False,
        creates_voices=True,
    )


def requests(pieces: Iterable[bytes], **spec: Any) -> Sequence[pb.CreateVoiceRequest]:
    """Return an upload's messages."""
    return [
        pb.CreateVoiceRequest(spec=pb.VoiceSpec(**spec)),
        *(pb.CreateVoiceRequest(content=piece) for piece in pieces),
    ]


def pieces_of(data: bytes) -> list[bytes]:
    """Return bytes in pieces as clients send them."""
    return [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]


@asynccontextmanager
async def voice_desk(
    folder: Path, limits: VoiceUploadLimits | None = None, *, places: int = 4
) -> AsyncIterator[VoiceDesk]:
    """Serve on loopback for the length of a block."""
    desk = VoiceDesk(folder, limits or VoiceUploadLimits(), places=places)
    gc.freeze()  # As the service does: every move collects, and what was imported would cost it half a second.
    await asyncio.to_thread(desk.residency.start)
    server = grpc.aio.server()
    add_to = tts_pb2_grpc.add_TextToSpeechServiceServicer_to_server
    add_to(desk.service, without_bad_requests(server))  # type: ignore[no-untyped-call]  # Generated code has no types.
    desk.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with grpc.aio.insecure_channel(desk.address) as channel:
            desk.stub = tts_pb2_grpc.TextToSpeechServiceStub(channel)
            yield desk
    finally:
        await server.stop(grace=None)
        await asyncio.to_thread(desk.executor.shutdown)
        await asyncio.to_thread(desk.residency.close)
        gc.unfreeze()
