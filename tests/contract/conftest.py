"""Real processes over real sockets, each started once for all contract tests that need it."""

from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from greenroom.tts.v1 import tts_pb2_grpc
from greenroom_client.sync import Client
from tests.fakes.chatterbox_process import serving, tiny_service
from tools.both import Both


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Run a service and a daemon, governed and ready."""
    folder = tmp_path_factory.mktemp("both")
    service_env = {
        "GREENROOM_SERVICE_LOG_FORMAT": "json",
        "GREENROOM_SERVICE_TRACE_FILE": str(folder / "trace.json"),
    }
    with Both(folder, service_env=service_env) as running:
        yield running


@pytest.fixture
async def speech(both: Both) -> AsyncIterator["tts_pb2_grpc.TextToSpeechServiceAsyncStub"]:
    """Give a stub of the speech API on a channel of its own."""
    async with grpc.aio.insecure_channel(both.speech_address) as channel:
        yield tts_pb2_grpc.TextToSpeechServiceStub(channel)


@pytest.fixture(scope="session")
def chatterbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Run a service that speaks with Chatterbox English of tiny weights; a test may restart it."""
    service = tiny_service(tmp_path_factory.mktemp("english"), tmp_path_factory.getbasetemp(), "english")
    with serving([service]):
        yield service


@pytest.fixture
async def english(chatterbox: Both) -> AsyncIterator["tts_pb2_grpc.TextToSpeechServiceAsyncStub"]:
    """Give a stub of its speech API on a channel of its own."""
    async with grpc.aio.insecure_channel(chatterbox.speech_address) as channel:
        yield tts_pb2_grpc.TextToSpeechServiceStub(channel)


@pytest.fixture
def client(chatterbox: Both) -> Iterator[Client]:
    """Give a client of it."""
    with Client(chatterbox.speech_address) as client:
        yield client
