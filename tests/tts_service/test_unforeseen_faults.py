"""What no handler foresaw reaches callers as an INTERNAL ENGINE_FAULT without its words, which are in the log."""

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc as pb_grpc
from tests.fakes.wire import failure
from tts_service.api.sessions import Sessions
from tts_service.server import SpeechServer

SECRET = "disk /secret/path is on fire"  # noqa: S105  No password: words that must stay inside.
UNARY: dict[str, Any] = {
    "GetVoice": pb.GetVoiceRequest(voice="x"),
    "ListVoices": pb.ListVoicesRequest(),
    "DeleteVoice": pb.DeleteVoiceRequest(voice="x"),
    "GetServiceInfo": pb.GetServiceInfoRequest(),
}
UPLOADS: dict[str, Any] = {"CreateVoice": pb.CreateVoiceRequest(), "DetectWatermark": pb.DetectWatermarkRequest()}


class Failing(pb_grpc.TextToSpeechServiceServicer):
    """A speech service all of whose handlers fail."""

    def __init__(self) -> None:
        self.places: tuple[Sessions, ...] = ()

    def __getattribute__(self, name: str) -> Any:
        """Return a handler that fails, for every name of a handler."""
        if not name[0].isupper():
            return super().__getattribute__(name)

        async def fail(_request: Any, _context: Any) -> None:
            raise ZeroDivisionError(SECRET)

        return fail


@pytest.fixture
async def stub() -> AsyncIterator[Any]:
    """Give a client of a service that fails."""
    sessions = Sessions(limit=1, clock=time.monotonic)
    server = SpeechServer(sessions=sessions, address="127.0.0.1:0", clock=time.monotonic, obstacle=lambda: "")
    server.bind()
    await server.start()
    failing: Any = Failing()
    await server.open(failing)
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield pb_grpc.TextToSpeechServiceStub(channel)
    await server.drain(0.1)


async def call(stub: Any, method: str) -> None:
    """Call a method with one message, to its end."""
    if method in UNARY:
        await getattr(stub, method)(UNARY[method], timeout=10)
    elif method in UPLOADS:
        await getattr(stub, method)(iter([UPLOADS[method]]), timeout=10)
    elif method == "Synthesize":
        await stub.Synthesize(pb.SynthesizeRequest(text="x"), timeout=10).read()
    else:
        await stub.StreamingSynthesize(iter([pb.StreamingSynthesizeRequest()]), timeout=10).read()


@pytest.mark.parametrize("method", [*UNARY, *UPLOADS, "Synthesize", "StreamingSynthesize"])
async def test_unforeseen_exception_is_an_engine_fault_with_a_line_in_the_log(stub: Any, method: str) -> None:
    """Every method answers so, and none lets a word of the exception out."""
    with capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(stub, method)

    assert ("INTERNAL", "ENGINE_FAULT") == failure(raised.value)
    assert SECRET not in str(raised.value.details())
    assert [SECRET] == [str(each["exc_info"]) for each in logs if each["event"] == "call_failed"]
