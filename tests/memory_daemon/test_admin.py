"""PolicyService over a real Unix socket: what operators may ask, and how they are refused."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from greenroom.memory.v1 import policy_pb2, policy_pb2_grpc, residency_pb2
from memory_daemon.admin import PolicyService, make_server
from memory_daemon.board import Board, DeviceStatus, Status
from memory_daemon.journal_records import OverrideChanged, PolicyChanged, Record
from memory_daemon.link_view import LinkState, LinkView
from memory_daemon.marks import HOST_POLICY, Mark, Marks
from memory_daemon.override_store import OverrideStore
from memory_daemon.store import PolicyStore
from memory_daemon.types import (
    HOST,
    Decided,
    Device,
    MemorySample,
    ModuleName,
    Override,
    OverrideKind,
    Pressure,
    ResidencyReport,
    SampleFailed,
    Tier,
)
from tests.fakes.manual_clock import ManualClock
from tests.fakes.memory_views import SPEECH, used

GB = 10**9
TIMEOUT_SECONDS = 10.0
MODULE = used("voice", restore_seconds=0.5)
VIEW = LinkView(
    socket=Path("speech.sock"),
    service=SPEECH,
    state=LinkState.GOVERNING,
    reason="",
    epoch=4,
    device=Device(device=HOST, tier=Tier.HOST),
    report=ResidencyReport(unix_seconds=9.0, modules=(MODULE,), budget_bytes=77),
    directive_version=3,
)
SAMPLE = MemorySample(device=HOST, seconds=1.0, unix_seconds=2.0, total_bytes=100 * GB, free_bytes=50 * GB)


class Desk:
    """A PolicyService behind a real socket, with everything that it touches in reach."""

    def __init__(self, folder: Path) -> None:
        clock = ManualClock(1000.0)
        self.policies = PolicyStore(folder=folder, initial=HOST_POLICY, unix_clock=clock)
        self.overrides = OverrideStore(folder=folder, unix_clock=clock)
        device = DeviceStatus(
            sample=SAMPLE,
            pressure=Pressure.STEADY,
            marks=Marks(critical_bytes=5 * GB, low_bytes=10 * GB, high_bytes=15 * GB),
        )
        self.first = Status(holder_id="holder", kept=self.policies.current, devices=(device,), services=(VIEW,))
        self.board = Board(first=self.first, watchers_maximum=2)
        self.records: list[Record] = []
        self.wakes = 0
        service = PolicyService(
            policies=self.policies,
            overrides=self.overrides,
            board=self.board,
            write=self.records.append,
            wake=self._wake,
            unix_clock=clock,
        )
        self._server = make_server(service, watchers_maximum=2)
        self._server.add_insecure_port(f"unix:{folder}/policy.sock")
        self._server.start()
        self._channel = grpc.insecure_channel(f"unix:{folder}/policy.sock")
        self.stub = policy_pb2_grpc.PolicyServiceStub(self._channel)

    def close(self) -> None:
        """Send everybody home."""
        self._channel.close()
        self.board.close()
        self._server.stop(0).wait()

    def _wake(self) -> None:
        self.wakes += 1

    def update(self, *paths: str, **values: object) -> policy_pb2.Policy:
        """Ask for a change of these fields and return the policy that is answered."""
        extra = {name: values.pop(name) for name in ("etag", "validate_only", "requested_by") if name in values}
        request = policy_pb2.UpdatePolicyRequest(
            policy=policy_pb2.Policy(**values), update_mask=FieldMask(paths=paths or tuple(values)), **extra
        )
        return self.stub.UpdatePolicy(request, timeout=TIMEOUT_SECONDS).policy

    def pin(self, module: str = "voice", **values: object) -> policy_pb2.Override:
        """Ask for a pin and return the override that is answered."""
        override = policy_pb2.Override(service=SPEECH, module=module, kind=policy_pb2.OVERRIDE_KIND_PIN)
        request = policy_pb2.SetOverrideRequest(override=override, **{"requested_by": "me"} | values)
        return self.stub.SetOverride(request, timeout=TIMEOUT_SECONDS).override


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Run a desk."""
    opened = Desk(tmp_path)
    yield opened
    opened.close()


def refusal(error: grpc.RpcError) -> tuple[grpc.StatusCode, str, list[str]]:
    """Return code, reason and fields of a refusal; its domain is always ours."""
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    assert status is not None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    assert info.domain == "greenroom"
    return error.code(), info.reason, [violation.field for violation in bad.field_violations]


def bytes_mark(size_bytes: int) -> policy_pb2.Mark:
    """Return a mark in bytes."""
    return policy_pb2.Mark(bytes=size_bytes)


def test_policy_is_told_with_every_number(desk: Desk) -> None:
    """What is in force is shown whole, with its etag and who made it so."""
    response = desk.stub.GetPolicy(policy_pb2.GetPolicyRequest(), timeout=TIMEOUT_SECONDS)
    policy = response.policy

    assert (5.0, 10.0, 15.0) == (policy.critical.percent, policy.low.percent, policy.high.percent)
    assert (1.0, 2.0, 5.0, 5.0, 0.1, 1.0, 10.0, 3.0) == tuple(
        getattr(policy, name).ToNanoseconds() / 1e9
        for name in (
            "grace",
            "cool_down",
            "minimum_residence",
            "minimum_absence",
            "minimum_period",
            "maximum_period",
            "valid_for",
            "renewal",
        )
    )
    assert (6 * GB, True, False, desk.policies.current.etag, 0) == (
        policy.worst_fill_bytes_per_second,
        policy.background_restore,
        policy.dry_run,
        policy.etag,
        policy.revision,
    )
    assert (False, "configuration") == (response.HasField("update_time"), response.updated_by)


def test_changed_number_is_in_force_kept_and_journalled(desk: Desk) -> None:
    """A change wakes the loop, and the journal tells who changed what from what."""
    policy = desk.update(low=bytes_mark(12 * GB), requested_by="ana")
    response = desk.stub.GetPolicy(policy_pb2.GetPolicyRequest(), timeout=TIMEOUT_SECONDS)
    expected = PolicyChanged(
        requested_by="ana",
        revision=1,
        changes={"low": ("10 %", "12.0 GB")},
        policy=replace(HOST_POLICY, low=Mark(size_bytes=12 * GB)),
    )

    assert (12 * GB, 1, 1, [expected]) == (policy.low.bytes, policy.revision, desk.wakes, desk.records)
    assert ("ana", 1000) == (response.updated_by, response.update_time.seconds)


def test_masked_field_that_is_not_set_goes_back_to_its_configured_value(desk: Desk) -> None:
    """Naming a field without a value takes a change back."""
    desk.update(low=bytes_mark(12 * GB), grace=Duration(seconds=9))
    policy = desk.update("low", "grace")

    assert (10.0, 1) == (policy.low.percent, policy.grace.seconds)


def test_field_that_is_set_but_not_masked_is_left_alone(desk: Desk) -> None:
    """The mask says what changes."""
    policy = desk.update("grace", low=bytes_mark(12 * GB), grace=Duration(seconds=9))

    assert (10.0, 9) == (policy.low.percent, policy.grace.seconds)


def test_star_changes_everything(desk: Desk) -> None:
    """What was read can be written back whole with a change in it."""
    policy = desk.stub.GetPolicy(policy_pb2.GetPolicyRequest(), timeout=TIMEOUT_SECONDS).policy
    policy.dry_run = True
    policy.cool_down.FromMilliseconds(2500)
    request = policy_pb2.UpdatePolicyRequest(policy=policy, update_mask=FieldMask(paths=["*"]), etag=policy.etag)
    desk.stub.UpdatePolicy(request, timeout=TIMEOUT_SECONDS)

    assert replace(HOST_POLICY, dry_run=True, cool_down_seconds=2.5) == desk.policies.current.policy


def test_tried_change_shows_the_result_and_does_nothing(desk: Desk) -> None:
    """`validate_only` answers with the policy that would be."""
    policy = desk.update(low=bytes_mark(12 * GB), validate_only=True)

    assert (12 * GB, 1) == (policy.low.bytes, policy.revision)
    assert (HOST_POLICY, [], 0) == (desk.policies.current.policy, desk.records, desk.wakes)


@pytest.mark.parametrize(
    ("paths", "values", "expected"),
    [
        pytest.param(["lov"], {}, ["update_mask"], id="unknown path"),
        pytest.param(["lov", "hi"], {}, ["update_mask", "update_mask"], id="every unknown path is told"),
        pytest.param(["low.bytes"], {}, ["update_mask"], id="a part of a field"),
        pytest.param(["etag"], {}, ["update_mask"], id="what the daemon sets"),
        pytest.param([], {}, ["update_mask"], id="no path"),
        pytest.param(["low"], {"low": policy_pb2.Mark()}, ["low"], id="a mark without a value"),
        pytest.param(["low"], {"low": policy_pb2.Mark(percent=float("nan"))}, ["low"], id="a mark that is no number"),
        pytest.param(["low"], {"low": policy_pb2.Mark(percent=101)}, ["low"], id="over 100 percent"),
        pytest.param(["low"], {"low": policy_pb2.Mark(bytes=-1)}, ["low"], id="negative"),
        pytest.param(["low"], {"low": policy_pb2.Mark(percent=16)}, ["high"], id="low above high"),
        pytest.param(["low"], {"low": policy_pb2.Mark(bytes=20 * GB)}, ["high"], id="bytes above percent here"),
        pytest.param(["grace"], {"grace": Duration(seconds=601)}, ["grace"], id="too long"),
        pytest.param(["grace"], {"grace": Duration(seconds=-1)}, ["grace"], id="negative time"),
        pytest.param(["renewal"], {"renewal": Duration(seconds=5)}, ["renewal"], id="renewed too late"),
        pytest.param(["worst_fill_bytes_per_second"], {}, ["worst_fill_bytes_per_second"], id="no fill rate"),
    ],
)
def test_wrong_change_is_refused_with_the_fields(
    desk: Desk, paths: list[str], values: dict[str, object], expected: list[str]
) -> None:
    """What is wrong is said field by field, and nothing changes."""
    request = policy_pb2.UpdatePolicyRequest(policy=policy_pb2.Policy(**values), update_mask=FieldMask(paths=paths))
    with pytest.raises(grpc.RpcError) as caught:
        desk.stub.UpdatePolicy(request, timeout=TIMEOUT_SECONDS)

    assert (grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONFIG", expected) == refusal(caught.value)
    assert (HOST_POLICY, []) == (desk.policies.current.policy, desk.records)


def test_change_based_on_another_state_is_refused(desk: Desk) -> None:
    """Two operators do not overwrite each other."""
    etag = desk.policies.current.etag
    desk.update(low=bytes_mark(12 * GB), etag=etag)
    with pytest.raises(grpc.RpcError) as caught:
        desk.update(low=bytes_mark(13 * GB), etag=etag)

    assert (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", []) == refusal(caught.value)


def test_change_that_cannot_be_kept_is_our_fault(desk: Desk, tmp_path: Path) -> None:
    """A state folder that is gone and cannot be made again refuses the change."""
    (tmp_path / "policy.json.new").mkdir()
    with pytest.raises(grpc.RpcError) as caught:
        desk.update(low=bytes_mark(12 * GB))

    assert (grpc.StatusCode.INTERNAL, "ENGINE_FAULT", []) == refusal(caught.value)
    assert HOST_POLICY == desk.policies.current.policy


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
