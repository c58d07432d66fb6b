"""PolicyService: taking back, freezing, explaining, and telling the past."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from greenroom.memory.v1 import policy_pb2, residency_pb2
from memory_daemon.journal import Journal
from memory_daemon.journal_records import FreezeChanged, PolicyChanged
from memory_daemon.marks import HOST_POLICY
from memory_daemon.types import Decided, ModuleName, Placement, Tier, Wish
from tests.fakes.manual_clock import ManualClock
from tests.fakes.memory_views import SPEECH
from tests.fakes.policy_desk import SAMPLE, TIMEOUT_SECONDS, Desk, refusal

VOICE = ModuleName("voice")
EVICTED = Decided(unix_seconds=990.0, service=SPEECH, version=3, reason="memory is low", evict=(VOICE,), dry_run=True)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Run a desk."""
    opened = Desk(tmp_path)
    yield opened
    opened.close()


def undo(desk: Desk, **values: object) -> policy_pb2.UndoPolicyResponse:
    """Take changes back."""
    return desk.stub.UndoPolicy(policy_pb2.UndoPolicyRequest(**values), timeout=TIMEOUT_SECONDS)


def first_status(desk: Desk, **values: object) -> policy_pb2.WatchStatusResponse:
    """Return the first status of a watch."""
    watch = desk.stub.WatchStatus(policy_pb2.WatchStatusRequest(**values), timeout=TIMEOUT_SECONDS)
    status = next(watch)
    watch.cancel()
    return status


def test_undo_answers_with_what_changed_and_is_journalled(desk: Desk) -> None:
    """The policy goes back under a new revision, and the journal tells that it was taken back, and by whom."""
    desk.update(grace=Duration(seconds=9), requested_by="ann")
    answer = undo(desk, requested_by="bob")
    told = desk.stub.GetPolicy(policy_pb2.GetPolicyRequest(), timeout=TIMEOUT_SECONDS)

    assert (1, 2, [("grace_seconds", "9.0", "1.0")]) == (
        answer.policy.grace.seconds,
        answer.policy.revision,
        [(one.name, one.before, one.after) for one in answer.numbers],
    )
    assert (
        PolicyChanged(
            requested_by="bob",
            revision=2,
            changes={"grace_seconds": ("9.0", "1.0")},
            policy=HOST_POLICY,
            undo=True,
        )
        == desk.records[-1]
    )
    assert ("bob", []) == (told.updated_by, list(told.changes))


def test_changes_that_can_be_undone_are_listed(desk: Desk) -> None:
    """Each with who, when and what, newest first."""
    desk.update(grace=Duration(seconds=9), requested_by="ann")
    desk.update(dry_run=True, requested_by="bob")
    told = desk.stub.GetPolicy(policy_pb2.GetPolicyRequest(), timeout=TIMEOUT_SECONDS).changes

    assert [(2, "bob", 1000, "dry_run"), (1, "ann", 1000, "grace_seconds")] == [
        (one.revision, one.updated_by, one.update_time.seconds, one.numbers[0].name) for one in told
    ]


@pytest.mark.parametrize(
    ("values", "code", "reason", "fields"),
    [
        pytest.param({}, grpc.StatusCode.FAILED_PRECONDITION, "NOTHING_TO_UNDO", [], id="nothing"),
        pytest.param({"etag": "9-x"}, grpc.StatusCode.ABORTED, "ETAG_MISMATCH", [], id="another state"),
        pytest.param(
            {"requested_by": "x" * 300}, grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONFIG", ["requested_by"], id="a novel"
        ),
    ],
)
def test_undo_is_refused_with_its_reason(
    desk: Desk, values: dict[str, object], code: grpc.StatusCode, reason: str, fields: list[str]
) -> None:
    """What cannot be taken back says why, and nothing changes."""
    with pytest.raises(grpc.RpcError) as caught:
        undo(desk, **values)

    assert (code, reason, fields) == refusal(caught.value)
    assert [] == desk.records


def test_freeze_is_in_force_shown_and_journalled(desk: Desk) -> None:
    """Its end, its author, the loop's wake-up and both records."""
    request = policy_pb2.SetFreezeRequest(time_to_live=Duration(seconds=60), requested_by="ann")
    freeze = desk.stub.SetFreeze(request, timeout=TIMEOUT_SECONDS).freeze
    desk.board.publish(replace(desk.first, freeze=desk.overrides.freeze()))
    shown = first_status(desk).freeze
    for _ in range(2):
        desk.stub.ClearFreeze(policy_pb2.ClearFreezeRequest(requested_by="bob"), timeout=TIMEOUT_SECONDS)
    told = [(one.change, one.requested_by) for one in desk.records if isinstance(one, FreezeChanged)]

    assert (1000, 1060, "ann", freeze) == (shown.start_time.seconds, shown.expire_time.seconds, shown.set_by, shown)
    assert ([("set", "ann"), ("cleared", "bob")], 2, None) == (told, desk.wakes, desk.overrides.freeze())


def test_freeze_for_no_time_is_refused(desk: Desk) -> None:
    """A time to live is a second to thirty days."""
    with pytest.raises(grpc.RpcError) as caught:
        desk.stub.SetFreeze(policy_pb2.SetFreezeRequest(time_to_live=Duration(nanos=1)), timeout=TIMEOUT_SECONDS)

    assert (grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONFIG", ["time_to_live"]) == refusal(caught.value)


def test_placement_is_explained_with_values_and_words(desk: Desk) -> None:
    """Where a module is, where it is wanted and by whom, the decision, and the directive."""
    wish = Wish(placements=(Placement(module=VOICE, tier=Tier.DISK),))
    desk.board.publish(replace(desk.first, wishes={SPEECH: wish}, decisions=(EVICTED,)))
    request = policy_pb2.ExplainPlacementRequest(service=SPEECH, module=VOICE)
    told = desk.stub.ExplainPlacement(request, timeout=TIMEOUT_SECONDS)
    (explained,) = told.modules

    assert (residency_pb2.TIER_HOST, residency_pb2.TIER_DISK, policy_pb2.PLACEMENT_CAUSE_POLICY) == (
        explained.tier,
        explained.wanted,
        explained.cause,
    )
    assert ("memory is low", True) == (explained.decision.reason, explained.decision.dry_run)
    assert "The policy wants it in DISK." in explained.sentences
    assert told.directive.sentences[0].startswith("A directive would have been sent 10 s ago")


@pytest.mark.parametrize("names", [{"service": "other"}, {"service": SPEECH, "module": "other"}])
def test_what_is_not_there_is_not_explained(desk: Desk, names: dict[str, str]) -> None:
    """A service or module that nobody reported is named as such."""
    with pytest.raises(grpc.RpcError) as caught:
        desk.stub.ExplainPlacement(policy_pb2.ExplainPlacementRequest(**names), timeout=TIMEOUT_SECONDS)

    assert (grpc.StatusCode.NOT_FOUND, "MODULE_NOT_FOUND", []) == refusal(caught.value)


def test_history_comes_from_the_journal(desk: Desk, tmp_path: Path) -> None:
    """What was changed through the API is told as history, newest first, with its numbers."""
    desk.update(grace=Duration(seconds=9), requested_by="ann")
    undo(desk, requested_by="bob")
    written = Journal(
        folder=tmp_path / "journal", size_maximum_bytes=10**6, files=1, unix_clock=ManualClock(1_700_000_000.0)
    )
    for record in desk.records:
        written.write(record)
    written.close()
    request = policy_pb2.GetHistoryRequest(kinds=[policy_pb2.HISTORY_KIND_POLICY])
    told = desk.stub.GetHistory(request, timeout=TIMEOUT_SECONDS)

    assert [
        ("bob", "policy taken back: grace_seconds 9.0 -> 1.0"),
        ("ann", "policy changed: grace_seconds 1.0 -> 9.0"),
    ] == [(event.requested_by, event.words) for event in told.events]
    assert (False, 1_700_000_000, "grace_seconds") == (
        told.truncated,
        told.events[0].time.seconds,
        told.events[0].numbers[0].name,
    )


@pytest.mark.parametrize(
    ("values", "field"),
    [({"max_events": 1001}, "max_events"), ({"kinds": [99]}, "kinds"), ({"module": "x" * 300}, "module")],
)
def test_history_of_too_much_is_refused(desk: Desk, values: dict[str, object], field: str) -> None:
    """Every bound names its field."""
    with pytest.raises(grpc.RpcError) as caught:
        desk.stub.GetHistory(policy_pb2.GetHistoryRequest(**values), timeout=TIMEOUT_SECONDS)

    assert (grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONFIG", [field]) == refusal(caught.value)


def test_first_status_tells_the_past_if_it_is_asked_for(desk: Desk) -> None:
    """Who begins to watch sees the last minutes at once; who does not ask gets none."""
    for second in range(5):
        sample = replace(SAMPLE, seconds=float(second), unix_seconds=100.0 + second)
        device = replace(desk.first.devices[0], sample=sample)
        desk.board.publish(replace(desk.first, devices=(device,)))

    assert [102, 103, 104] == [point.time.seconds for point in first_status(desk, past=Duration(seconds=2)).past]
    assert [] == list(first_status(desk).past)
