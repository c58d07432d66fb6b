"""The speech server's life: start, health, drain, stop. The control server is another one, in `control_server`."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from greenroom.tts.v1 import tts_pb2, tts_pb2_grpc
from tts_service.api.front_door import FrontDoor
from tts_service.api.lenient import without_bad_requests
from tts_service.api.sessions import Sessions
from tts_service.api.speech import SpeechService
from tts_service.errors import ServiceError, StartupError

SPEECH_SERVICE = tts_pb2.DESCRIPTOR.services_by_name["TextToSpeechService"].full_name

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", 2 << 20),  # A text of 1 MiB gets an answer of ours instead of gRPC's.
    ("grpc.max_send_message_length", 2 << 20),
    ("grpc.keepalive_time_ms", 30_000),  # Finds dead callers; gRPC's default is two hours.
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # Lets clients keep alive, too.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_concurrent_streams", 1_024),  # A safety net only: beyond it calls queue in the client unseen.
    ("grpc.so_reuseport", 0),  # A second service on the port is a mistake, not a share of the load.
)

log = structlog.get_logger(__name__)


class SpeechServer:
    """One grpc.aio server with speech, health and reflection.

    Health is there from the start, speech once it has been opened; until then calls hear what `obstacle` says.
    """

    def __init__(
        self, *, sessions: Sessions, address: str, clock: Callable[[], float], obstacle: Callable[[], str]
    ) -> None:
        self.port = 0
        self.serving = False
        self._door: Any = FrontDoor(SPEECH_SERVICE, obstacle=obstacle)
        self._sessions = sessions
        self._address = address
        self._clock = clock
        self._health = HealthServicer()
        self._places: tuple[Sessions, ...] = (sessions,)
        self._server: grpc.aio.Server | None = None

    def bind(self) -> None:
        """Take the address, so that a wrong or taken one is known before anything is loaded. Raises StartupError."""
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((self._door,))
        lenient = without_bad_requests(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, lenient)
        names = (SPEECH_SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(ReflectionServicer(names), lenient)
        try:
            self.port = server.add_insecure_port(self._address)
        except RuntimeError as error:
            message = f"cannot listen on {self._address} ({error}); free it, or choose another with --speech-address"
            raise StartupError(message) from None
        self._server = server

    @property
    def address(self) -> str:
        """The address with the port that was taken."""
        return f"{self._address.rpartition(':')[0]}:{self.port}"

    async def start(self) -> None:
        """Serve on the address that was taken; health says NOT_SERVING."""
        assert self._server is not None
        await self.set_serving(serving=False)
        await self._server.start()

    async def open(self, service: SpeechService) -> None:
        """Let calls through to the speech service; health says SERVING when this returns."""
        self._places = (self._sessions, *service.places)
        tts_pb2_grpc.add_TextToSpeechServiceServicer_to_server(service, without_bad_requests(self._door))
        await self.set_serving(serving=True)

    def refuse(self, refusal: Callable[[], ServiceError]) -> None:
        """Have new calls of speech end with this until `admit`; those that are open go on."""
        self._door.refuse(refusal)

    def admit(self) -> None:
        """Let calls through to speech again."""
        self._door.admit()

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", SPEECH_SERVICE):
            await self._health.set(name, status)

    async def set_serving(self, *, serving: bool) -> None:
        """Turn health green or red."""
        self.serving = serving
        response = health_pb2.HealthCheckResponse
        await self._set_health(response.SERVING if serving else response.NOT_SERVING)

    async def drain(self, grace_seconds: float) -> None:
        """Stop in good order: health first, word to the sessions, their utterances and uploads, then the rest."""
        log.info("draining", grace_seconds=grace_seconds)
        self.serving = False
        await self._health.enter_graceful_shutdown()
        deadline = self._clock() + grace_seconds
        for places in self._places:
            places.drain(deadline)
        finished = all(await asyncio.gather(*(places.wait_empty(grace_seconds + 1.0) for places in self._places)))
        assert self._server is not None
        await self._server.stop(0.5)
        log.info("drained", finished=finished)

    async def wait(self) -> None:
        """Wait until the server has stopped."""
        assert self._server is not None
        await self._server.wait_for_termination()

    def __repr__(self) -> str:
        return f"<SpeechServer on {self._address} | {self._sessions!r}>"


async def watch_activity(tell: Callable[[], None], *, period_seconds: float = 1.0) -> None:
    """Tell now and then how busy the service is."""
    while True:
        tell()
        await asyncio.sleep(period_seconds)
