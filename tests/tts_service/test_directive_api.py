"""Directives over a real Unix socket: what is accepted, refused and reported, and when it ends."""

from collections.abc import Iterator

import pytest
from google.rpc import error_details_pb2

from greenroom.memory.v1 import residency_pb2 as pb
from tests.fakes.control_path import QUICK, ControlPath, eventually, serving
from tests.fakes.governor_client import directive_request, reason_of


@pytest.fixture
def path() -> Iterator[ControlPath]:
    """Serve with short times and few places."""
    with serving(QUICK) as running:
        yield running


def test_directive_is_acknowledged_and_reported_as_applied(path: ControlPath) -> None:
    """An accepted directive moves modules and shows in a report with its epoch and holder."""
    governor = path.governor()
    epoch = governor.hello().epoch
    ack = governor.direct(epoch, 7, ("voice", pb.TIER_DISK), budget_bytes=5).ack
    report = next(report for report in governor.reports() if report.applied_version == 7)

    assert (7, 7, 5, epoch, "daemon", pb.TIER_DISK) == (
        ack.version,
        report.accepted_version,
        report.budget_bytes,
        report.epoch,
        report.holder_id,
        report.modules[0].tier,
    )


@pytest.mark.parametrize(
    ("bad", "code", "reason", "field"),
    [
        (directive_request(1, 2, valid_for_seconds=0.5), 3, "BAD_CONFIG", "valid_for"),
        (directive_request(1, 2, valid_for_seconds=601.0), 3, "BAD_CONFIG", "valid_for"),
        (pb.GovernRequest(directive=pb.Directive(epoch=1, version=2)), 3, "BAD_CONFIG", "valid_for"),
        (directive_request(1, 2, ("nobody", pb.TIER_DISK)), 3, "MODULE_NOT_FOUND", "placements[0].module"),
        (directive_request(1, 2, ("", pb.TIER_DISK)), 3, "BAD_CONFIG", "placements[0].module"),
        (directive_request(1, 2, ("voice", 3), ("voice", 3)), 3, "BAD_CONFIG", "placements[1].module"),
        (directive_request(1, 2, ("voice", 0)), 3, "BAD_CONFIG", "placements[0].tier"),
        (directive_request(1, 2, ("voice", 77)), 3, "BAD_CONFIG", "placements[0].tier"),
        (directive_request(1, 2, ("voice", pb.TIER_DEVICE)), 3, "BAD_CONFIG", "placements[0].tier"),
        (directive_request(1, 2, budget_bytes=-1), 3, "BAD_CONFIG", "budget_bytes"),
        (directive_request(1, 1, ("voice", pb.TIER_HOST)), 3, "BAD_CONFIG", "version"),
        (directive_request(1, 0), 3, "BAD_CONFIG", "version"),
        (directive_request(1, 2, *[("voice", 3)] * 257), 3, "BAD_CONFIG", "placements"),
    ],
)
def test_bad_directive_is_refused_as_a_whole(
    path: ControlPath, bad: pb.GovernRequest, code: int, reason: str, field: str
) -> None:
    """A bad directive is answered with its field, changes nothing, and the stream lives."""
    governor = path.governor()
    governor.hello()
    governor.direct(1, 1, ("watermark.detector", pb.TIER_DISK))
    governor.send(bad)
    nack = governor.read_until(lambda response: response.HasField("nack")).nack
    request = error_details_pb2.BadRequest()
    assert nack.error.details[1].Unpack(request)
    after = path.manager.calls
    still = governor.direct(1, 3)

    assert (code, reason, [field], bad.directive.version, 2, 3) == (
        nack.error.code,
        reason_of(nack.error).reason,
        [violation.field for violation in request.field_violations],
        nack.version,
        len(after),
        still.ack.version,
    )


@pytest.mark.parametrize(("epoch", "version"), [(2, 9), (0, 9), (1, 4)])
def test_directive_of_wrong_epoch_or_old_version_is_superseded(path: ControlPath, epoch: int, version: int) -> None:
    """What does not belong to this reign, or was overtaken, is refused."""
    governor = path.governor()
    governor.hello()
    governor.direct(1, 5)
    nack = governor.direct(epoch, version).nack

    assert ("SUPERSEDED", 10, version) == (reason_of(nack.error).reason, nack.error.code, nack.version)


def test_manager_that_breaks_is_a_nack_without_internals(path: ControlPath) -> None:
    """A fault of ours refuses the directive, says nothing of its cause, and leaves the stream alive."""
    governor = path.governor()
    governor.hello()
    path.manager.directive_fault = RuntimeError("secret")
    nack = governor.direct(1, 1).nack
    path.manager.directive_fault = None

    assert ("ENGINE_FAULT", False, 2) == (
        reason_of(nack.error).reason,
        "secret" in str(nack),
        governor.direct(1, 2).ack.version,
    )


def test_directive_that_is_not_renewed_ends(path: ControlPath) -> None:
    """When its time is over the manager goes to its default and the report names nobody, though the daemon hangs."""
    governor = path.governor()
    governor.hello()
    governor.direct(1, 1, ("voice", pb.TIER_DISK), valid_for_seconds=1.0)
    eventually(lambda: path.manager.calls[-1] is None)
    report = next(report for report in governor.reports() if report.epoch == 0)

    assert (0, "", 0, 0, pb.TIER_HOST) == (
        report.epoch,
        report.holder_id,
        report.accepted_version,
        report.applied_version,
        report.modules[0].tier,
    )


def test_broken_stream_leaves_the_directive_in_force(path: ControlPath) -> None:
    """A daemon that is gone still governs until its time is over."""
    governor = path.governor()
    governor.hello()
    governor.direct(1, 1, ("voice", pb.TIER_DISK), valid_for_seconds=600.0)
    governor.leave()
    eventually(lambda: "away" in repr(path.governance))
    report = path.report()

    assert (1, "daemon", 1, pb.TIER_DISK) == (
        report.epoch,
        report.holder_id,
        report.accepted_version,
        report.modules[0].tier,
    )


def test_reattached_holder_starts_with_versions_of_its_own(path: ControlPath) -> None:
    """What an earlier epoch said stays in force, but its version is not shown as the new one's."""
    first = path.governor()
    first.hello()
    first.direct(1, 9, ("voice", pb.TIER_DISK))
    second = path.governor()
    welcome = second.hello()
    ack = second.direct(2, 1).ack

    assert (pb.TIER_DISK, 0, 0, 1) == (
        welcome.report.modules[0].tier,
        welcome.report.accepted_version,
        welcome.report.applied_version,
        ack.version,
    )
