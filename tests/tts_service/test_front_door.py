"""The speech server before there is speech: health answers, speech calls are told to come back, and then go through."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc as pb_grpc
from tests.fakes.wire import failure
from tts_service.api.sessions import Sessions
from tts_service.errors import Reason, ServiceError
from tts_service.server import SPEECH_SERVICE, SpeechServer


class Described(pb_grpc.TextToSpeechServiceServicer):
    """A speech service that can say its name, with places of its own for uploads."""

    def __init__(self, *places: Sessions) -> None:
        self.places = places

    async def GetServiceInfo(self, request: pb.GetServiceInfoRequest, context: Any) -> pb.GetServiceInfoResponse:  # type: ignore[override]  # noqa: N802  # The wire's name, in asyncio's form.
        """Say it."""
        del request, context
        return pb.GetServiceInfoResponse(service_name="open")


def described(*places: Sessions) -> Any:
    """Return it; the other methods are not called."""
    return Described(*places)  # type: ignore[abstract]  # The generated class has them.


@pytest.fixture
async def server() -> AsyncIterator[SpeechServer]:
    """Give a server that has started and not opened."""
    sessions = Sessions(limit=1, clock=time.monotonic)
    running = SpeechServer(
        sessions=sessions, address="127.0.0.1:0", clock=time.monotonic, obstacle=lambda: "weights load (42 %)"
    )
    running.bind()
    await running.start()
    yield running
    await running.drain(0.1)


@pytest.fixture
async def channel(server: SpeechServer) -> AsyncIterator[grpc.aio.Channel]:
    """Give a channel to it."""
    async with grpc.aio.insecure_channel(server.address) as opened:
        yield opened


async def health(channel: grpc.aio.Channel, service: str) -> int:
    """Return what health says."""
    request = health_pb2.HealthCheckRequest(service=service)
    status: int = (await health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)).status
    return status


async def refusal(channel: grpc.aio.Channel, method: str) -> grpc.aio.AioRpcError:
    """Call a method that takes and gives streams, and return how it ends."""
    call: Any = channel.stream_stream(f"/{SPEECH_SERVICE}/{method}")(timeout=10)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    return raised.value


@pytest.mark.parametrize("method", ["StreamingSynthesize", "Synthesize", "GetServiceInfo", "CreateVoice"])
async def test_call_before_there_is_speech_is_told_to_come_back(channel: grpc.aio.Channel, method: str) -> None:
    """Whatever its form, it ends at once with how far the start is and when to try again."""
    error = await refusal(channel, method)
    status: Any = rpc_status.from_call(error)
    retry = error_details_pb2.RetryInfo()

    assert ("UNAVAILABLE", "ENGINE_STARTING") == failure(error)
    assert "weights load (42 %)" == error.details()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToSeconds() > 0


async def test_health_is_red_before_there_is_speech_and_green_after(
    server: SpeechServer, channel: grpc.aio.Channel
) -> None:
    """Both the server and its speech service are told."""
    before = [await health(channel, name) for name in ("", SPEECH_SERVICE)]
    await server.open(described())
    after = [await health(channel, name) for name in ("", SPEECH_SERVICE)]
    status = health_pb2.HealthCheckResponse

    assert ([status.NOT_SERVING] * 2, [status.SERVING] * 2) == (before, after)


async def test_calls_go_through_once_the_door_is_open(server: SpeechServer, channel: grpc.aio.Channel) -> None:
    """The same connection that was refused is served; a method that there is not, is not."""
    await refusal(channel, "GetServiceInfo")
    await server.open(described())
    info = await pb_grpc.TextToSpeechServiceStub(channel).GetServiceInfo(pb.GetServiceInfoRequest(), timeout=10)
    unknown = await refusal(channel, "Sing")

    assert ("open", grpc.StatusCode.UNIMPLEMENTED) == (info.service_name, unknown.code())


async def test_drain_waits_for_uploads_and_refuses_new_ones(server: SpeechServer) -> None:
    """What is being made is finished within the grace, as utterances are; what comes later is told to go elsewhere."""
    uploads = Sessions(limit=2, clock=time.monotonic)
    await server.open(described(uploads))
    with uploads.admitted():
        draining = asyncio.create_task(server.drain(20.0))
        while uploads.drain_deadline is None:  # noqa: ASYNC110  # It is set within one turn of the loop.
            await asyncio.sleep(0)
        with pytest.raises(ServiceError) as refused, uploads.admitted():
            pass
        waits = not draining.done()
    await asyncio.wait_for(draining, 10.0)

    assert (Reason.DRAINING, True) == (refused.value.reason, waits)
