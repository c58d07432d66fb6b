"""The two processes together: thresholds change live, modules leave and return, each outlives the other."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from grpc_health.v1 import health_pb2, health_pb2_grpc

from greenroom.memory.v1 import policy_pb2, residency_pb2, residency_pb2_grpc
from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc
from tests.fakes.wire import config, end, failure, text
from tools.both import Both

SPEECH = {"voice", "watermark.encoder"}
TIGHT = policy_pb2.Policy(
    low=policy_pb2.Mark(percent=99.8),
    high=policy_pb2.Mark(percent=99.9),
    grace=Duration(nanos=100_000_000),
    minimum_residence=Duration(nanos=500_000_000),
)


@pytest.fixture
def own_both(tmp_path: Path) -> Any:
    """Run two processes that a test may hurt."""
    with Both(tmp_path, service_env={"GREENROOM_SERVICE_RESIDENCY__MINIMUM_STAY_SECONDS": "0.5"}) as running:
        yield running


def eventually(holds: Callable[[], bool], *, within_seconds: float = 20.0) -> bool:
    """Wait until something holds; say whether it came to."""
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return False


def tighten(both: Both) -> None:
    """Ask for more free memory than there can be."""
    mask = FieldMask(paths=["low", "high", "grace", "minimum_residence"])
    with both.policy_channel() as channel:
        both.policy(channel).UpdatePolicy(policy_pb2.UpdatePolicyRequest(policy=TIGHT, update_mask=mask), timeout=10)


def loosen(both: Both) -> None:
    """Ask for hardly any free memory."""
    loose = policy_pb2.Policy(
        critical=policy_pb2.Mark(percent=0.1), low=policy_pb2.Mark(percent=0.2), high=policy_pb2.Mark(percent=0.3)
    )
    mask = FieldMask(paths=["critical", "low", "high"])
    with both.policy_channel() as channel:
        both.policy(channel).UpdatePolicy(policy_pb2.UpdatePolicyRequest(policy=loose, update_mask=mask), timeout=10)


def at_home(both: Both) -> set[str]:
    """Return the modules that are at home."""
    return {m.module for m in both.residency().modules if m.tier == m.home}


def speak(both: Both, words: str = "Leave quietly, and return quickly.") -> bytes:
    """Speak with a fixed seed; return the samples."""
    with grpc.insecure_channel(both.speech_address) as channel:
        stub = tts_pb2_grpc.TextToSpeechServiceStub(channel)
        asked = pb.SynthesizeRequest(text=words, config=pb.SessionConfig(sampling=pb.Sampling(seed=5)))
        return b"".join(r.audio.data for r in stub.Synthesize(asked, timeout=60))


def test_tightened_threshold_evicts_and_speech_brings_back_the_same_bytes(own_both: Both) -> None:
    """Memory really leaves the process, comes back on demand, and the audio is the same."""
    before = speak(own_both)
    resident_bytes = own_both.residency().process_bytes
    tighten(own_both)
    assert eventually(lambda: not at_home(own_both) & SPEECH)
    released_bytes = resident_bytes - own_both.residency().process_bytes
    measured_bytes = sum(m.home_bytes for m in own_both.residency().modules if m.module in SPEECH)
    after = speak(own_both)

    assert before == after
    assert released_bytes >= 0.8 * measured_bytes > 20_000_000
    assert own_both.residency().restore_waits >= 1


def test_threshold_survives_a_restart_of_the_daemon(own_both: Both) -> None:
    """A changed policy is in force again after the daemon was killed, with the same holder."""
    tighten(own_both)
    holder = own_both.residency().holder_id
    own_both.daemon.signal(signal.SIGKILL)
    own_both.daemon.wait()
    own_both.daemon.start()
    # Not the service is asked: it names the dead one until that one's directive has run out.
    own_both.daemon.until(lambda: any(service.governed for service in own_both.status().services))
    with own_both.policy_channel() as channel:
        policy = own_both.policy(channel).GetPolicy(policy_pb2.GetPolicyRequest(), timeout=10).policy

    assert (99.8, 99.9) == (policy.low.percent, policy.high.percent)
    assert holder == own_both.residency().holder_id


def test_service_speaks_while_the_daemon_is_dead_and_falls_back_to_its_default(own_both: Both) -> None:
    """Without its governor the service goes on, and an expired directive no longer holds."""
    tighten(own_both)
    assert eventually(lambda: own_both.residency().accepted_version > 0)
    own_both.daemon.signal(signal.SIGKILL)
    own_both.daemon.wait()

    assert len(speak(own_both)) > 24_000
    assert eventually(lambda: not own_both.residency().holder_id, within_seconds=30)
    assert 0 == own_both.residency().accepted_version


def test_daemon_outlives_the_service_and_governs_it_again(own_both: Both) -> None:
    """A service that was killed and started again is governed without a hand's turn."""
    own_both.service.signal(signal.SIGKILL)
    own_both.service.wait()
    assert eventually(lambda: not any(s.governed for s in own_both.status().services))
    own_both.service.start()
    own_both.wait_serving()
    own_both.wait_governed()

    assert len(speak(own_both)) > 24_000


def test_second_service_and_second_daemon_are_refused_with_the_way_out(own_both: Both) -> None:
    """Two processes never share a socket or a state folder."""
    second = own_both._process("tts_service", {"GREENROOM_SERVICE_SPEECH_ADDRESS": "127.0.0.1:0"}, None)
    other = own_both._process("memory_daemon", {}, None)
    for process in (second, other):
        process.log_path = process.log_path.with_suffix(".second.log")
        process.start()

    assert (1, 1) == (second.wait(60), other.wait(60))
    assert "default.sock" in second.log_tail()
    assert "daemon" in other.log_tail().lower()


async def test_drain_says_so_finishes_what_was_begun_and_refuses_what_is_new(own_both: Both) -> None:
    """SIGTERM: health first, a notice, the open utterance to its end, new ones UNAVAILABLE, exit 0."""
    async with grpc.aio.insecure_channel(own_both.speech_address) as channel:
        stub: Any = tts_pb2_grpc.TextToSpeechServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        call = stub.StreamingSynthesize()
        await call.write(config(pacing=pb.PACING_REALTIME))
        await call.write(text("u", "This sentence was begun before the end, and it is spoken whole, to its last word."))
        await call.write(end("u"))
        while (await call.read()).WhichOneof("response") != "audio":
            pass
        own_both.service.signal(signal.SIGTERM)
        while (response := await call.read()).WhichOneof("response") != "notice":
            pass
        serving = (await health.Check(health_pb2.HealthCheckRequest())).status
        await call.write(text("v", "Too late."))
        kinds, errors = await _rest(call)

    assert response.notice.draining.deadline.seconds > 0
    assert health_pb2.HealthCheckResponse.NOT_SERVING == serving
    assert ("utterance_error" in kinds, "utterance_done" in kinds) == (True, True)
    assert ("UNAVAILABLE", "DRAINING") == errors
    assert 0 == own_both.service.wait()


async def _rest(call: Any) -> tuple[list[str], tuple[str, str]]:
    kinds = []
    try:
        while (response := await call.read()) is not grpc.aio.EOF:
            kinds.append(response.WhichOneof("response"))
    except grpc.aio.AioRpcError as error:
        return kinds, failure(error)
    return kinds, ("OK", "") if await call.code() == grpc.StatusCode.OK else await _ended(call)


async def _ended(call: Any) -> tuple[str, str]:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return failure(error)
    return (await call.code()).name, "DRAINING" if "stopping" in (await call.details()) else ""


def _answers(call: Callable[[], object]) -> bool:
    try:
        call()
    except grpc.RpcError:
        return False
    return True


def test_place_module_while_governed_names_the_way_out(both: Both) -> None:
    """With a governor attached the service sends the operator to SetOverride."""
    with grpc.insecure_channel(f"unix:{both.control_socket}") as channel:
        control = residency_pb2_grpc.ResidencyServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            control.PlaceModule(residency_pb2.PlaceModuleRequest(module="voice", tier=residency_pb2.TIER_DISK))

    assert ("FAILED_PRECONDITION", "GOVERNED") == failure(raised.value)
    assert "SetOverride" in str(raised.value.details())


def test_override_evicts_and_its_release_brings_the_module_back_on_demand(both: Both) -> None:
    """An operator's wish is above the policy's, and a request is above both."""
    loosen(both)
    with both.policy_channel() as channel:
        wish = policy_pb2.Override(service="default", module="voice", kind=policy_pb2.OVERRIDE_KIND_EVICT)
        asked = policy_pb2.SetOverrideRequest(override=wish)
        assert eventually(lambda: _answers(lambda: both.policy(channel).SetOverride(asked, timeout=10)))
        left = eventually(lambda: "voice" not in at_home(both))
        spoken = speak(both)
        both.policy(channel).ClearOverride(
            policy_pb2.ClearOverrideRequest(service="default", module="voice"), timeout=10
        )

    assert left
    assert len(spoken) > 24_000


def test_signal_writes_where_the_time_went_while_the_service_runs(both: Both) -> None:
    """A slow request is looked into without a restart: start, steps and audio are rows of a trace."""
    speak(both)
    trace = both.folder / "trace.json"
    trace.unlink(missing_ok=True)
    os.kill(both.service.pid, signal.SIGUSR1)
    assert eventually(trace.exists)

    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    rows = {event["args"]["name"] for event in events if event["ph"] == "M"}
    names = {event["name"] for event in events}

    assert {"start", "moves", "session", "sound"} <= rows
    assert {"voice to host", "marking", "AudioMade"} <= names
