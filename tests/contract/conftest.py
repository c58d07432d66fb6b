"""The two real processes over real sockets, started once for all contract tests."""

from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from greenroom.tts.v1 import tts_pb2_grpc
from tools.both import Both


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Run a service and a daemon, governed and ready."""
    with Both(tmp_path_factory.mktemp("both"), service_env={"GREENROOM_SERVICE_LOG_FORMAT": "json"}) as running:
        yield running


@pytest.fixture
async def speech(both: Both) -> AsyncIterator["tts_pb2_grpc.TextToSpeechServiceAsyncStub"]:
    """Give a stub of the speech API on a channel of its own."""
    async with grpc.aio.insecure_channel(both.speech_address) as channel:
        yield tts_pb2_grpc.TextToSpeechServiceStub(channel)
