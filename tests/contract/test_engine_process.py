"""An engine in a process of its own: it speaks the same, and whatever becomes of it, the service stays."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc
from greenroom_client.sync import Client
from tests.contract.test_metrics import address_in, scraped, total
from tests.fakes.health import health
from tests.fakes.hurt import eventually, status_field
from tests.fakes.metered import labels_by_name, service_metrics
from tests.fakes.own_engine import OwnEngine, engines, is_there, running, spares
from tests.fakes.recordings import recording, sound_file
from tests.fakes.wire import audio, cancel, config, converse, end, failure, reason, rest_of, text, until
from tools.both import Both
from tts_service.models.builtin import HEART

SENTENCE = "Good evening, and welcome to the greenroom."
LONG = "Here is one more sentence that takes its time. " * 60
STATUS = health_pb2.HealthCheckResponse
HANG_SECONDS = "2"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    """Run a service with an engine of its own, and a daemon; the engine hangs soon and may die often."""
    settings = {"ENGINE__HANG_SECONDS": HANG_SECONDS, "ENGINE__MOST_DEATHS": "1000"}
    with running(OwnEngine(tmp_path_factory.mktemp("own"), settings=settings), daemon=True) as service:
        service.wait_governed()
        yield service


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for weights that are made once for all tests."""
    return tmp_path_factory.getbasetemp()


@pytest.fixture
async def stub(own: OwnEngine) -> AsyncIterator[Any]:
    """Give a stub of its speech on a channel of its own."""
    assert own.speaks()
    async with grpc.aio.insecure_channel(own.speech_address) as channel:
        yield tts_pb2_grpc.TextToSpeechServiceStub(channel)


def facts(status: status_pb2.Status) -> dict[str, str]:
    """Return what a status tells besides its reason."""
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return dict(info.metadata)


def retry_seconds(status: status_pb2.Status) -> float:
    """Return when a status says that it is worth another try."""
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    return retry.retry_delay.ToTimedelta().total_seconds()


def modules_of(service: OwnEngine, event: str) -> list[str]:
    """Return the modules that something happened to, by the log."""
    events = [json.loads(line) for line in service.service.log_path.read_text().splitlines() if line.startswith("{")]
    return [each["module"] for each in events if each["event"] == event]


def whole_text(service: OwnEngine, voice: str) -> bytes:
    """Return the samples of a sentence in a voice."""
    asked = pb.SynthesizeRequest(text=SENTENCE, config=pb.SessionConfig(voice=voice, sampling=pb.Sampling(seed=5)))
    with grpc.insecure_channel(service.speech_address) as channel:
        call = tts_pb2_grpc.TextToSpeechServiceStub(channel).Synthesize(asked, timeout=60)
        return b"".join(response.audio.data for response in call)


async def spoken(stub: Any, **fields: Any) -> bytes:
    """Return the samples of a sentence with a fixed seed."""
    fixed = pb.Sampling(seed=5)
    return audio(await converse(stub, [config(sampling=fixed, **fields), text("u", SENTENCE), end("u")]))


@pytest.mark.parametrize(
    ("encoding", "rate_hertz"),
    [
        (pb.AUDIO_ENCODING_PCM_S16LE, 24_000),
        (pb.AUDIO_ENCODING_PCM_F32LE, 16_000),
        (pb.AUDIO_ENCODING_MULAW, 8_000),
        (pb.AUDIO_ENCODING_WAV, 48_000),
        (pb.AUDIO_ENCODING_OGG_OPUS, 48_000),
    ],
)
async def test_engine_of_its_own_gives_the_same_bytes(stub: Any, speech: Any, encoding: Any, rate_hertz: int) -> None:
    """Wherever it computes and whoever codes, a seed gives the same audio."""
    audio_format = pb.AudioFormat(encoding=encoding, sample_rate_hertz=rate_hertz)
    same = await spoken(speech, audio_format=audio_format)

    assert same == await spoken(stub, audio_format=audio_format)
    assert len(same) > 5_000


async def test_killed_engine_ends_speech_with_what_was_said_and_the_session_lives(own: OwnEngine, stub: Any) -> None:
    """A client hears how much of the text it has heard; the same session speaks on once the next engine is there."""
    call = stub.StreamingSynthesize(timeout=120)
    await call.write(config(pacing=pb.PACING_REALTIME))
    await call.write(text("u", LONG))
    await until(call, "segment_done")
    pid = own.hurt_engine(signal.SIGKILL)
    heard = await until(call, "utterance_error")
    error = heard.utterance_error.error
    told = facts(error)
    assert await asyncio.to_thread(own.replaced, pid)
    await call.write(text("v", SENTENCE))
    await call.write(end("v"))
    await call.done_writing()
    rest = await rest_of(call)

    assert (grpc.StatusCode.UNAVAILABLE.value[0], "ENGINE_RESTARTING") == (error.code, reason(error))
    assert len(LONG) == int(told["text_spoken_bytes"]) + int(told["text_unspoken_bytes"])
    assert 0 < int(told["text_spoken_bytes"]) < len(LONG)
    assert int(told["samples_sent"]) > 0
    assert retry_seconds(error) > 0
    assert b"" != audio(rest, "v")
    assert b"" == audio(rest, "u")


async def test_every_session_is_told_what_it_heard_and_the_next_one_is_served(own: OwnEngine, stub: Any) -> None:
    """Several that speak at once: each hears its own share of its text, once, and a new session speaks afterwards."""
    calls = [stub.StreamingSynthesize(timeout=120) for _ in range(3)]
    for call in calls:
        await call.write(config(pacing=pb.PACING_REALTIME))
        await call.write(text("u", LONG))
    for call in calls:
        await until(call, "segment_done")
    pid = own.hurt_engine(signal.SIGKILL)
    errors = [(await until(call, "utterance_error")).utterance_error for call in calls]
    replaced = await asyncio.to_thread(own.replaced, pid)
    for call in calls:
        await call.done_writing()
    rest = [each for call in calls for each in await rest_of(call)]

    told = [facts(each.error) for each in errors]
    assert replaced
    assert ["ENGINE_RESTARTING"] * 3 == [reason(each.error) for each in errors]
    assert [len(LONG)] * 3 == [int(each["text_spoken_bytes"]) + int(each["text_unspoken_bytes"]) for each in told]
    assert all(int(each["text_spoken_bytes"]) > 0 for each in told)
    assert [] == [each for each in rest if each.WhichOneof("response") in {"audio", "utterance_error"}]
    assert len(await spoken(stub)) > 10_000


async def test_calls_between_two_engines_are_told_when_to_come_back(own: OwnEngine, stub: Any) -> None:
    """Health goes red and green again; calls meanwhile are UNAVAILABLE with a time, and a whole text ends so too."""
    call = stub.Synthesize(pb.SynthesizeRequest(text=LONG), timeout=60)
    pieces = aiter(call)
    await anext(pieces)
    pid = own.hurt_engine(signal.SIGKILL)
    with pytest.raises(grpc.aio.AioRpcError) as cut_short:
        [each async for each in pieces]
    red = health(own.speech_address)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ListVoices(pb.ListVoicesRequest(), timeout=10)
    back = await asyncio.to_thread(own.replaced, pid)

    assert [("UNAVAILABLE", "ENGINE_RESTARTING")] * 2 == [failure(each.value) for each in (cut_short, refused)]
    assert (STATUS.NOT_SERVING, True, STATUS.SERVING) == (red, back, health(own.speech_address))
    assert len(await spoken(stub)) > 10_000


async def test_text_for_an_open_session_without_an_engine_fails_alone(own: OwnEngine, stub: Any) -> None:
    """A session that was silent when the engine died hears of it with its next text, and speaks once there is one."""
    call = stub.StreamingSynthesize(timeout=120)
    await call.write(config())
    await until(call, "session_started")
    pid = own.hurt_engine(signal.SIGKILL)
    assert eventually(lambda: health(own.speech_address) == STATUS.NOT_SERVING)
    await call.write(text("u", SENTENCE))
    await call.write(end("u"))
    error = (await until(call, "utterance_error")).utterance_error
    await asyncio.to_thread(own.replaced, pid)
    await call.write(text("v", SENTENCE))
    await call.write(end("v"))
    await call.done_writing()

    assert ("ENGINE_RESTARTING", True) == (reason(error.error), error.closed)
    assert b"" != audio(await rest_of(call), "v")


async def test_stopped_engine_trips_the_watchdog_and_is_replaced(own: OwnEngine, stub: Any) -> None:
    """An engine that says nothing any more is killed after its time; the front end answers meanwhile."""
    call = stub.StreamingSynthesize(timeout=120)
    await call.write(config(pacing=pb.PACING_REALTIME))
    await call.write(text("u", LONG))
    await until(call, "audio")
    pid = own.hurt_engine(signal.SIGSTOP)
    info = await stub.GetServiceInfo(pb.GetServiceInfoRequest(), timeout=1)
    error = (await until(call, "utterance_error")).utterance_error
    call.cancel()

    assert "default" == info.service_name
    assert "ENGINE_RESTARTING" == reason(error.error)
    assert await asyncio.to_thread(own.replaced, pid)
    assert not is_there(pid)
    assert own.logged("engine_hangs")


async def test_interruption_reaches_the_engine(own: OwnEngine, stub: Any) -> None:
    """A cancelled utterance leaves no claim in the engine's residency."""
    call = stub.StreamingSynthesize(timeout=60)
    await call.write(config(pacing=pb.PACING_REALTIME))
    await call.write(text("u", LONG))
    await until(call, "audio")
    await call.write(cancel("u"))
    await until(call, "utterance_cancelled")

    assert eventually(lambda: not any(each.claims for each in own.residency().modules))
    call.cancel()


def test_daemon_governs_the_next_engine_as_a_service_of_its_own(own: OwnEngine) -> None:
    """To the daemon a new engine is a service that was started anew: another instance, governed soon."""
    assert eventually(lambda: bool(own.residency().holder_id))
    before = {each.service_instance_id for each in own.status().services}
    pid = own.hurt_engine(signal.SIGKILL)
    replaced = own.replaced(pid)

    assert replaced
    assert eventually(lambda: own.residency().epoch > 0, within_seconds=40)
    assert eventually(lambda: not before & {each.service_instance_id for each in own.status().services})


def test_trace_holds_both_processes(tmp_path: Path) -> None:
    """On a signal and at the end: orders where they are sent before the steps that they bring, on one clock."""
    trace = tmp_path / "trace.json"
    with running(OwnEngine(tmp_path, settings={"TRACE_FILE": str(trace)})) as service:
        whole_text(service, HEART.voice_id)
        service.service.signal(signal.SIGUSR1)
        assert eventually(trace.exists)
        first = json.loads(trace.read_text())["traceEvents"]
        trace.unlink()
    last = json.loads(trace.read_text())["traceEvents"]

    for events in (first, last):
        names = {each["args"]["name"]: each["pid"] for each in events if each["name"] == "process_name"}
        front = [each for each in events if each["pid"] == names["front end"]]
        sent = next(each["ts"] for each in front if each["name"] == "RenderSegment")
        heard = next(each["ts"] for each in front if each["name"] == "AudioMade")
        steps = [each["ts"] for each in events if each["pid"] == names["engine"] and each.get("ph") == "X"]
        assert {"front end", "engine"} == set(names)
        assert any(sent < step < heard for step in steps)
    assert [] == list(tmp_path.glob(".trace.json*"))


def test_metrics_go_on_over_engines(own: OwnEngine) -> None:
    """Names are those of one process, nothing that counts falls, and the restart is counted."""
    address = address_in(own.service.log_path.read_text())
    whole_text(own, HEART.voice_id)
    assert eventually(lambda: total(scraped(address), "greenroom_module_uses_total") > 0)
    before = scraped(address)
    assert own.replaced(own.hurt_engine(signal.SIGKILL))
    between = scraped(address)
    whole_text(own, HEART.voice_id)
    uses = total(before, "greenroom_module_uses_total")
    assert eventually(lambda: total(scraped(address), "greenroom_module_uses_total") > uses)
    after = scraped(address)

    known = labels_by_name(service_metrics().registry).keys()
    assert set() == {name for name in after if not name.startswith("process_")} - known
    assert [] == [*fallen(before, between), *fallen(between, after)]
    assert 1.0 == total(after, "greenroom_engine_restarts_total") - total(before, "greenroom_engine_restarts_total")
    assert total(after, "process_resident_memory_bytes") > 1_024 * status_field(own.service.pid, "VmRSS")


def fallen(before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]) -> list[str]:
    """Return what counted less afterwards."""
    ends = ("_total", "_count", "_sum", "_bucket")
    return [
        f"{name} {labels}"
        for name, series in before.items()
        for labels, value in series.items()
        if name.endswith(ends) and after[name][labels] < value
    ]


def test_engine_ends_with_its_front_end(tmp_path: Path) -> None:
    """Killed or told to end, it leaves no engine and no spare process behind, and after a good end no socket."""
    with running(OwnEngine(tmp_path)) as service:
        both = [service.engine, *spares(service.service.pid)]
        service.service.signal(signal.SIGKILL)
        service.service.wait()
        assert eventually(lambda: not any(map(is_there, both)))
        service.service.start()
        service.wait_serving()
        both += [service.engine, *spares(service.service.pid)]
        assert 0 == service.service.stop()

        assert (4, []) == (len(both), [pid for pid in both if is_there(pid)])
        assert not service.control_socket.exists()


def test_engine_that_dies_while_it_comes_up_is_started_again(tmp_path: Path) -> None:
    """The service speaks all the same, only later."""
    service = OwnEngine(tmp_path)
    try:
        service.service.start()
        assert eventually(lambda: bool(engines(service.service.pid)))
        pid = service.hurt_engine(signal.SIGKILL)
        assert service.replaced(pid)
    finally:
        service.stop()

    assert 1 == service.logged("engine_died")


def test_engine_that_dies_again_and_again_ends_the_service(tmp_path: Path) -> None:
    """After as many deaths as are allowed it gives up, with a status that says so; it does not spin."""
    service = OwnEngine(tmp_path, settings={"ENGINE__MOST_DEATHS": "3", "ENGINE__SPARE": "false"})
    seen: set[int] = set()

    def kill_all() -> bool:
        for pid in engines(service.service.pid):
            if pid not in seen:
                seen.add(pid)
                service.hurt_engine(signal.SIGKILL)
        return not is_there(service.service.pid)

    try:
        service.service.start()
        assert eventually(kill_all, within_seconds=40)
        status = service.service.wait()
    finally:
        service.stop()

    assert (1, 3) == (status, len(seen))
    assert "the engine died 3 times within 300 s" in service.service.log_tail()


def test_bad_weights_end_the_service_at_once(tmp_path: Path) -> None:
    """What another try would not mend is told as it is in one process, and not tried again."""
    service = OwnEngine(tmp_path, model="english", weights=str(tmp_path / "nowhere"))
    try:
        service.service.start()
        status = service.service.wait(60)
    finally:
        service.stop()

    assert (1, 1) == (status, service.logged("engine_started"))
    assert "nowhere" in service.service.log_tail()


async def test_step_that_never_ends_trips_the_watchdog(tmp_path: Path) -> None:
    """A hung kernel leaves the engine's event loop alone; that its step does not end is seen all the same."""
    service = OwnEngine(tmp_path, settings={"ENGINE__HANG_SECONDS": HANG_SECONDS, "ENGINE__SPARE": "false"})
    service.service._arguments[2:] = ["tests.fakes.hanging_service"]
    with running(service):
        pid = service.engine
        async with grpc.aio.insecure_channel(service.speech_address) as channel:
            stub = tts_pb2_grpc.TextToSpeechServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.Synthesize(pb.SynthesizeRequest(text="Unending."), timeout=30).read()
            replaced = await asyncio.to_thread(service.replaced, pid)

            assert ("UNAVAILABLE", "ENGINE_RESTARTING") == failure(raised.value)
            assert replaced
            assert len(await spoken(stub)) > 10_000


def test_next_engine_finds_the_weights_that_the_last_one_loaded(tmp_path: Path, shared: Path) -> None:
    """After a kill nothing that was in memory is read again, but what had gone to disk; a seed gives the same bytes."""
    settings = {"CACHE_DIR": str(shared), "RESIDENCY__LINGER_SECONDS": "0.5", "RESIDENCY__MINIMUM_STAY_SECONDS": "0"}
    service = OwnEngine(tmp_path, settings=settings, model="english", weights="synthetic:tiny")
    with running(service), Client(service.speech_address) as client:
        made = client.create_voice(sound_file(recording(5.0, seed=3)))
        first = whole_text(service, made.voice.id)
        found_before, read = modules_of(service, "master_found"), modules_of(service, "master_read")
        assert service.replaced(service.hurt_engine(signal.SIGKILL))
        second = whole_text(service, made.voice.id)
        read_again = modules_of(service, "master_read")[len(read) :]
        again = client.create_voice(sound_file(recording(5.0, seed=3)))

        found = modules_of(service, "master_found")
        assert [] == found_before
        assert len(set(found)) == len(found)
        # Encoders go to disk half a second after the voice was made, before the kill or not.
        assert {"t3", "s3gen.flow", "s3gen.vocoder"} <= set(found)
        assert {"s3gen.tokenizer", "s3gen.speaker_encoder", "voice_encoder"} - set(found) >= set(read_again)
        assert first == second
        assert made.voice.id == again.voice.id
        client.delete_voice(made.voice.id)
        assert made.voice.id not in {voice.id for voice in client.voices()}


async def test_both_ways_serve_one_conversation_alike(both: Both, speech: Any, stub: Any) -> None:
    """The same messages come, in the same order, with the same spans."""
    del both
    said = [config(sampling=pb.Sampling(seed=5)), text("u", f"{SENTENCE} {SENTENCE}"), end("u")]

    def told(responses: list[Any]) -> list[Any]:
        return [each.segment_done for each in responses if each.WhichOneof("response") == "segment_done"]

    assert told(await converse(speech, said)) == told(await converse(stub, said))
