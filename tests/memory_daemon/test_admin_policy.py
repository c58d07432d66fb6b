"""PolicyService: telling and changing the policy, and how operators are refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from greenroom.memory.v1 import policy_pb2
from memory_daemon.journal_records import PolicyChanged
from memory_daemon.marks import HOST_POLICY, Mark
from tests.fakes.policy_desk import GB, TIMEOUT_SECONDS, Desk, refusal


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Run a desk."""
    opened = Desk(tmp_path)
    yield opened
    opened.close()


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
        changes={"low": ("10%", "12GB")},
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
