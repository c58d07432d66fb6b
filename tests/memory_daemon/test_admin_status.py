"""PolicyService: overrides, and watching what the daemon sees and does."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from greenroom.memory.v1 import policy_pb2, residency_pb2
from memory_daemon.board import DeviceStatus
from memory_daemon.journal_records import OverrideChanged
from memory_daemon.types import HOST, Decided, ModuleName, Override, OverrideKind, Pressure, SampleFailed
from tests.fakes.memory_views import SPEECH
from tests.fakes.policy_desk import GB, TIMEOUT_SECONDS, Desk, refusal


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Run a desk."""
    opened = Desk(tmp_path)
    yield opened
    opened.close()


def test_override_is_in_force_and_journalled(desk: Desk) -> None:
    """A wish is answered as it is in force, with its end and who set it."""
    answered = desk.pin(time_to_live=Duration(seconds=60))
    override = Override(
        service=SPEECH,
        module=ModuleName("voice"),
        kind=OverrideKind.PIN,
        expire_unix_seconds=1060.0,
        set_by="me",
    )

    assert (1060, "me") == (answered.expire_time.seconds, answered.set_by)
    assert ((override,), [OverrideChanged(change="set", requested_by="me", override=override)], 1) == (
        desk.overrides.active(),
        desk.records,
        desk.wakes,
    )


def test_override_without_a_time_to_live_holds_until_cleared(desk: Desk) -> None:
    """No end is shown as no end; clearing ends it once, and clearing again is no error."""
    answered = desk.pin()
    request = policy_pb2.ClearOverrideRequest(service=SPEECH, module="voice", requested_by="you")
    for _ in range(2):
        desk.stub.ClearOverride(request, timeout=TIMEOUT_SECONDS)
    changes = [record.change for record in desk.records if isinstance(record, OverrideChanged)]

    assert (False, (), ["set", "cleared"]) == (answered.HasField("expire_time"), desk.overrides.active(), changes)


@pytest.mark.parametrize(
    ("override", "time_to_live", "expected"),
    [
        pytest.param({"module": "voice", "kind": 1, "service": "else"}, 0, ("NOT_FOUND", []), id="unknown service"),
        pytest.param({"module": "choir", "kind": 1, "service": "speech"}, 0, ("NOT_FOUND", []), id="unknown module"),
        pytest.param({"module": "voice", "kind": 1}, 0, ("NOT_FOUND", []), id="the default service is not there"),
        pytest.param(
            {"module": "voice", "service": "speech"}, 0, ("INVALID_ARGUMENT", ["override.kind"]), id="no kind"
        ),
        pytest.param({"kind": 1, "service": "speech"}, 0, ("INVALID_ARGUMENT", ["override.module"]), id="no module"),
        pytest.param({"module": "v" * 257, "kind": 1}, 0, ("INVALID_ARGUMENT", ["override.module"]), id="a long name"),
        pytest.param(
            {"module": "voice", "kind": 1, "service": "speech"},
            31 * 86_400,
            ("INVALID_ARGUMENT", ["time_to_live"]),
            id="too long",
        ),
    ],
)
def test_wrong_override_is_refused(
    desk: Desk, override: dict[str, object], time_to_live: int, expected: tuple[str, list[str]]
) -> None:
    """What cannot be meant is refused, and nothing is in force."""
    request = policy_pb2.SetOverrideRequest(override=policy_pb2.Override(**override))
    if time_to_live:
        request.time_to_live.seconds = time_to_live
    with pytest.raises(grpc.RpcError) as caught:
        desk.stub.SetOverride(request, timeout=TIMEOUT_SECONDS)
    code, reason, fields = refusal(caught.value)

    assert (*expected, ()) == (code.name, fields, desk.overrides.active())
    assert reason == ("MODULE_NOT_FOUND" if code.name == "NOT_FOUND" else "BAD_CONFIG")


def test_watcher_sees_a_snapshot_first_and_then_every_status(desk: Desk) -> None:
    """The status is told as it is, whole, and then anew after every tick."""
    watch = desk.stub.WatchStatus(policy_pb2.WatchStatusRequest(), timeout=TIMEOUT_SECONDS)
    first = next(watch)
    decided = Decided(unix_seconds=3.0, service=SPEECH, version=3, reason="low", evict=(ModuleName("voice"),))
    broken = DeviceStatus(
        sample=SampleFailed(device=HOST, seconds=1.0, unix_seconds=2.0, reason="broken"),
        pressure=Pressure.UNKNOWN,
        marks=None,
    )
    desk.board.publish(replace(desk.first, decisions=(decided,), devices=(broken,)))
    second = next(watch)
    watch.cancel()
    module = first.services[0].report.modules[0]

    assert ("holder", 50 * GB, policy_pb2.PRESSURE_STEADY, 10 * GB, "") == (
        first.holder_id,
        first.samples[0].free_bytes,
        first.pressures[0],
        first.marks[0].low_bytes,
        first.samples[0].error,
    )
    assert ("speech", True, 4, 3, "host", 77) == (
        first.services[0].service,
        first.services[0].governed,
        first.services[0].epoch,
        first.services[0].directive_version,
        first.services[0].device,
        first.services[0].report.budget_bytes,
    )
    assert ("voice", residency_pb2.TIER_HOST, 500_000_000) == (
        module.module,
        module.tier,
        module.restore_duration.nanos,
    )
    assert ("broken", policy_pb2.PRESSURE_UNKNOWN, "low", ["voice"]) == (
        second.samples[0].error,
        second.pressures[0],
        second.decisions[0].reason,
        list(second.decisions[0].evict),
    )


def test_slow_watcher_gets_the_newest_status_only(desk: Desk) -> None:
    """A watcher that reads late is not told what was: statuses are no queue."""
    seen: list[str] = []
    with desk.board.watch() as watcher:
        statuses = watcher.statuses()
        seen.append(next(statuses).holder_id)
        for number in range(100):
            desk.board.publish(replace(desk.first, holder_id=str(number)))
        seen.append(next(statuses).holder_id)

    assert ["holder", "99"] == seen


def test_watchers_are_bounded_and_their_places_come_back(desk: Desk) -> None:
    """One watcher too many is refused; one that leaves makes room."""
    watches = [desk.stub.WatchStatus(policy_pb2.WatchStatusRequest(), timeout=TIMEOUT_SECONDS) for _ in range(2)]
    for watch in watches:
        next(watch)
    refused = desk.stub.WatchStatus(policy_pb2.WatchStatusRequest(), timeout=TIMEOUT_SECONDS)
    with pytest.raises(grpc.RpcError) as caught:
        next(refused)
    watches[0].cancel()
    again = None
    for _ in range(200):
        try:
            again = next(desk.stub.WatchStatus(policy_pb2.WatchStatusRequest(), timeout=TIMEOUT_SECONDS))
            break
        except grpc.RpcError:
            threading.Event().wait(0.02)
    watches[1].cancel()

    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, "AT_CAPACITY", []) == refusal(caught.value)
    assert again is not None
