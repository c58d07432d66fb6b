"""Faults over the wire: silence, stalled uploads, a broken module, a drain at a bad moment. One service of its own."""

import asyncio
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc
from tests.fakes.wire import config, converse, end, failure, kinds, text, until
from tools.both import Both

IDLE_SECONDS = 2


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Run a service alone that waits two seconds for anything."""
    env = {
        "GREENROOM_SERVICE_LIMITS__IDLE_TIMEOUT_SECONDS": str(IDLE_SECONDS),
        "GREENROOM_SERVICE_DRAIN_GRACE_SECONDS": "5",
        "GREENROOM_SERVICE_LIMITS__SESSIONS": "3",
        "GREENROOM_SERVICE_LIMITS__DETECTIONS": "1",
    }
    both = Both(tmp_path_factory.mktemp("impatient"), service_env=env)
    both.service.start()
    try:
        both.wait_serving()
        yield both
    finally:
        both.stop()


@pytest.fixture
async def stub(impatient: Both) -> Any:
    """Give a stub of that service."""
    async with grpc.aio.insecure_channel(impatient.speech_address) as channel:
        yield tts_pb2_grpc.TextToSpeechServiceStub(channel)


async def reason_of_end(call: Any) -> tuple[str, str]:
    """Wait for a call's end through its iterator, which raises the status."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asyncio.wait_for(_read_all(call), 30)
    return failure(raised.value)


async def _read_all(call: Any) -> None:
    async for _ in call:
        pass


async def without_sessions(both: Both, *, within_seconds: float) -> bool:
    """Wait until the service has no session; say whether that came to be."""
    for _ in range(round(within_seconds / 0.1)):
        if not both.residency().sessions:
            return True
        await asyncio.sleep(0.1)
    return False


async def test_client_that_never_sends_a_config_ends_with_idle_timeout(stub: Any) -> None:
    """An open stream without a word does not hold its place for ever."""
    assert ("DEADLINE_EXCEEDED", "IDLE_TIMEOUT") == await reason_of_end(stub.StreamingSynthesize())


async def test_client_that_says_nothing_after_its_config_ends_with_idle_timeout(stub: Any) -> None:
    """A session in which nothing happens ends."""
    call = stub.StreamingSynthesize()
    await call.write(config())

    assert ("DEADLINE_EXCEEDED", "IDLE_TIMEOUT") == await reason_of_end(call)


async def test_upload_that_stalls_ends_with_idle_timeout(stub: Any) -> None:
    """A detection whose audio does not come ends."""
    call = stub.DetectWatermark()
    await call.write(pb.DetectWatermarkRequest(audio_format=pb.AudioFormat()))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asyncio.wait_for(call, 30)

    assert ("DEADLINE_EXCEEDED", "IDLE_TIMEOUT") == failure(raised.value)


async def test_client_that_never_reads_is_let_go(impatient: Both, stub: Any) -> None:
    """Endless audio that nobody takes gives its place back."""
    call = stub.StreamingSynthesize()
    form = pb.AudioFormat(encoding=pb.AUDIO_ENCODING_PCM_F32LE, sample_rate_hertz=48_000)
    await call.write(config(audio_format=form))
    for number in range(16):
        await call.write(text(f"u{number}", "A long sentence that nobody reads, and so it goes on and on. " * 60))
        await call.write(end(f"u{number}"))

    assert await without_sessions(impatient, within_seconds=60)


async def test_session_beyond_the_limit_is_refused_with_a_time_to_retry(stub: Any) -> None:
    """The fourth of three places is AT_CAPACITY at once."""
    calls = [stub.StreamingSynthesize() for _ in range(3)]
    for call in calls:
        await call.write(config())
        await until(call, "session_started")
    refused = await reason_of_end(stub.StreamingSynthesize())
    for call in calls:
        call.cancel()

    assert ("RESOURCE_EXHAUSTED", "AT_CAPACITY") == refused


async def test_detections_beyond_their_limit_are_refused_and_speech_goes_on(stub: Any) -> None:
    """Detections have places of their own, and a long one holds nobody up who speaks."""
    noise = bytes(range(256)) * 9_000

    async def detect() -> str:
        requests = [pb.DetectWatermarkRequest(audio_format=pb.AudioFormat(encoding=pb.AUDIO_ENCODING_MULAW))]
        requests += [pb.DetectWatermarkRequest(content=noise[i : i + 500_000]) for i in range(0, len(noise), 500_000)]
        try:
            await stub.DetectWatermark(iter(requests))
        except grpc.aio.AioRpcError as error:
            return failure(error)[1]
        return "answered"

    detections = [asyncio.create_task(detect()) for _ in range(3)]
    await converse(stub, [config(), text("u", "Speech goes on."), end("u")])
    answers = await asyncio.gather(*detections)

    assert "answered" in answers
    assert {"answered", "AT_CAPACITY"} >= set(answers)


async def test_lost_cache_is_no_reason_to_fall_silent(tmp_path: Path) -> None:
    """A module whose cached file is gone, on a disk that takes no other, comes back all the same."""
    both = Both(tmp_path)
    both.service.start()
    try:
        await asyncio.to_thread(both.wait_serving)
        async with grpc.aio.insecure_channel(both.speech_address) as channel:
            stub: Any = tts_pb2_grpc.TextToSpeechServiceStub(channel)
            await asyncio.to_thread(both.place_all, "disk")
            cache = tmp_path / "cache" / "greenroom"
            shutil.rmtree(cache)
            cache.write_text("in the way")
            await asyncio.to_thread(both.place_all, None)
            responses = await converse(stub, [config(), text("u", "Everybody hears this."), end("u")])
            served = (await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())).status
    finally:
        both.stop()

    assert "utterance_done" in kinds(responses)
    assert health_pb2.HealthCheckResponse.SERVING == served


async def test_drain_reaches_a_session_that_was_not_configured_yet(tmp_path: Path) -> None:
    """A client that opened its stream and said nothing hears DRAINING, and holds nothing up."""
    both = Both(tmp_path, service_env={"GREENROOM_SERVICE_DRAIN_GRACE_SECONDS": "20"})
    both.service.start()
    try:
        await asyncio.to_thread(both.wait_serving)
        async with grpc.aio.insecure_channel(both.speech_address) as channel:
            stub: Any = tts_pb2_grpc.TextToSpeechServiceStub(channel)
            call = stub.StreamingSynthesize()
            await asyncio.sleep(0.5)
            open_sessions = both.residency().sessions
            both.service.signal(signal.SIGTERM)
            ended_with = await reason_of_end(call)
            code = await asyncio.to_thread(both.service.wait, 19)
    finally:
        both.stop()

    assert 1 == open_sessions
    assert ("UNAVAILABLE", "DRAINING") == ended_with
    assert 0 == code
