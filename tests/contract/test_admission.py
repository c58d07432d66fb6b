"""Who is let in to speak, over the wire: a service of its own with few places, and the built-in voice."""

import asyncio
import re
import signal
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc
from greenroom_client.aio import Client
from greenroom_client.config import Priority
from greenroom_client.events import Queued, SessionEvent
from greenroom_client.options import ClientOptions
from tests.fakes.wire import config, converse, failure, rest_of, until
from tools.both import Both

PLACES = 2
MOST_RETRY_SECONDS = 20.0
ENV = {
    "GREENROOM_SERVICE_LIMITS__SESSIONS": str(PLACES),
    "GREENROOM_SERVICE_DRAIN_GRACE_SECONDS": "5",
    "GREENROOM_SERVICE_ADMISSION__QUEUE_SECONDS": "20",
    "GREENROOM_SERVICE_ADMISSION__MOST_RETRY_SECONDS": str(MOST_RETRY_SECONDS),
    "GREENROOM_SERVICE_LOG_FORMAT": "json",
}


def started(folder: Path, **env: str) -> Both:
    """Return a service that runs alone."""
    both = Both(folder, service_env={**ENV, **env})
    both.service.start()
    both.wait_serving()
    return both


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Run a service with two places and a queue."""
    both = started(tmp_path_factory.mktemp("small"))
    try:
        yield both
    finally:
        both.stop()


@pytest.fixture
async def stub(small: Both) -> AsyncIterator[Any]:
    """Give a stub of it, when it has learned that places come free often."""
    async with grpc.aio.insecure_channel(small.speech_address) as channel:
        made = tts_pb2_grpc.TextToSpeechServiceStub(channel)
        for _ in range(30):
            await converse(made, [config()])
        yield made


async def opened(stub: Any, **fields: Any) -> Any:
    """Return a session that was let in."""
    call = stub.StreamingSynthesize()
    await call.write(config(**fields))
    await until(call, "session_started")
    return call


async def queued(stub: Any, **fields: Any) -> tuple[Any, pb.Queued]:
    """Return a call that waits, and where."""
    call = stub.StreamingSynthesize()
    await call.write(config(**fields))
    return call, (await until(call, "notice")).notice.queued


async def freed(both: Both) -> None:
    """Wait until nobody is there."""
    async with asyncio.timeout(10):
        while both.residency().sessions:  # noqa: ASYNC110  # It is in another process, which sets no event here.
            await asyncio.sleep(0.05)


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    """Return how a call ends that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asyncio.wait_for(rest_of(call), 30)
    return raised.value


def retry_seconds(error: grpc.aio.AioRpcError) -> float:
    """Return when a refused call was told to come back."""
    status: Any = rpc_status.from_call(error)
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    return float(retry.retry_delay.ToNanoseconds()) / 1e9


def counted(both: Both, name: str) -> dict[str, float]:
    """Return a metric's series."""
    found = re.search(r"http://[^\s\"]+/metrics", (both.folder / "tts_service.log").read_text())
    assert found is not None
    with urllib.request.urlopen(found[0], timeout=10) as answer:  # noqa: S310  # A loopback address of our own.
        lines = answer.read().decode().splitlines()
    series = (line.rpartition(" ") for line in lines if line.partition(" ")[0].partition("{")[0] == name)
    return {labels: float(value) for labels, _, value in series}


async def test_queue_is_told_goes_in_order_and_forgets_who_vanished(small: Both, stub: Any) -> None:
    """Who waits hears its place before its session begins; bulk waits behind; a vanished call's place is free."""
    holders = [await opened(stub) for _ in range(PLACES)]
    bulk, behind = await queued(stub, priority=pb.PRIORITY_BULK)
    gone, before = await queued(stub)
    first, second = await queued(stub)
    gone.cancel()
    holders[0].cancel()
    await asyncio.wait_for(until(first, "session_started"), 10)
    holders[1].cancel()
    started = await asyncio.wait_for(until(bulk, "session_started"), 10)
    for call in (first, bulk):
        call.cancel()
    await freed(small)

    assert (1, 1, 2) == (behind.position, before.position, second.position)
    assert 0.0 < second.expected_wait.ToNanoseconds() / 1e9 <= 20.0
    assert pb.PRIORITY_BULK == started.session_started.effective_config.priority


async def test_full_service_refuses_honestly_and_stays_healthy(small: Both, stub: Any) -> None:
    """A client that has no place left in the queue is told when to come back, within bounds, and health is green."""
    holders = [await opened(stub) for _ in range(PLACES)]
    waiting = [(await queued(stub))[0] for _ in range(8)]
    call = stub.StreamingSynthesize()
    await call.write(config())
    error = await refusal(call)
    async with grpc.aio.insecure_channel(small.speech_address) as channel:
        health = (await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())).status
    in_queue = counted(small, "greenroom_queue_sessions")
    for each in (*holders, *waiting):
        each.cancel()
    await freed(small)

    assert ("RESOURCE_EXHAUSTED", "AT_CAPACITY") == failure(error)
    assert 0.5 <= retry_seconds(error) <= MOST_RETRY_SECONDS
    assert health_pb2.HealthCheckResponse.SERVING == health
    assert {"greenroom_queue_sessions": 8.0} == in_queue
    assert counted(small, "greenroom_refused_total")['greenroom_refused_total{priority="interactive",refusal="full"}']
    assert counted(small, "greenroom_admitted_total")['greenroom_admitted_total{priority="interactive"}'] >= PLACES
    assert len(counted(small, "greenroom_utilisation")) == 3


async def test_deadline_in_the_queue_ends_the_wait_with_a_status(stub: Any, small: Both) -> None:
    """Who could not be heard in time is not begun: told so before its own deadline, with a place free afterwards."""
    holders = [await opened(stub) for _ in range(PLACES)]
    call = stub.StreamingSynthesize(timeout=3.0)
    await call.write(config())
    await until(call, "notice")
    error = await refusal(call)
    for each in holders:
        each.cancel()
    await freed(small)
    code, reason = failure(error)

    assert "DEADLINE_EXCEEDED" == code
    assert reason in {"QUEUE_TIMEOUT", ""}, "on a busy machine the client's own clock may be faster than the word"
    assert counted(small, "greenroom_refused_total")[
        'greenroom_refused_total{priority="interactive",refusal="deadline"}'
    ]


async def test_whole_text_waits_like_a_session(stub: Any, small: Both) -> None:
    """The notice comes before its speech, and clients that do not know it read on."""
    holders = [await opened(stub) for _ in range(PLACES)]
    call = stub.Synthesize(pb.SynthesizeRequest(text="It was worth the wait."))
    first = await call.read()
    holders[0].cancel()
    kinds = [response.WhichOneof("response") for response in await rest_of(call)]
    holders[1].cancel()
    await freed(small)

    assert 1 == first.notice.queued.position
    assert ("started", "done") == (kinds[0], kinds[-1])


async def test_client_library_hears_of_the_queue(stub: Any, small: Both) -> None:
    """Opening a session waits, and tells where it stands."""
    heard: list[SessionEvent] = []
    told = asyncio.Event()

    def hear(event: SessionEvent) -> None:
        heard.append(event)
        told.set()

    holders = [await opened(stub) for _ in range(PLACES)]
    async with Client(small.speech_address, ClientOptions(client_name="desk")) as client:
        opening = asyncio.create_task(client.open_session(on_event=hear, priority=Priority.BULK))
        await asyncio.wait_for(told.wait(), 10)
        holders[0].cancel()
        session = await asyncio.wait_for(opening, 10)
        priority = session.config.priority
        await session.close()
    holders[1].cancel()
    await freed(small)

    assert isinstance(heard[0], Queued)
    assert (1, Priority.BULK) == (heard[0].position, priority)


async def test_client_has_its_share_and_drain_refuses_the_queue(tmp_path: Path) -> None:
    """One named client may have one session; another comes in; who waits hears DRAINING when the service stops."""
    both = await asyncio.to_thread(started, tmp_path, GREENROOM_SERVICE_ADMISSION__CLIENT_SESSIONS="1")
    try:
        async with grpc.aio.insecure_channel(both.speech_address) as channel:
            stub: Any = tts_pb2_grpc.TextToSpeechServiceStub(channel)
            for _ in range(30):
                await converse(stub, [config()])

            def call_of(client: str) -> Any:
                return stub.StreamingSynthesize(metadata=(("x-greenroom-client", client),))

            calls = [call_of(client) for client in ("ann", "ben", "ann", "cid")]
            for call in calls[:2]:
                await call.write(config())
                await until(call, "session_started")
            for call in calls[2:]:
                await call.write(config())
            refused = failure(await refusal(calls[2]))
            await until(calls[3], "notice")
            both.service.signal(signal.SIGTERM)
            drained = failure(await refusal(calls[3]))
            for call in calls[:2]:
                await call.done_writing()
            code = await asyncio.to_thread(both.service.wait, 19)
    finally:
        both.stop()

    assert ("RESOURCE_EXHAUSTED", "AT_CAPACITY") == refused
    assert ("UNAVAILABLE", "DRAINING") == drained
    assert 0 == code
