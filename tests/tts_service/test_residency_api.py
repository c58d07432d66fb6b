"""The calls beside Govern, over a real Unix socket."""

from collections.abc import Iterator

import grpc
import pytest

from greenroom.memory.v1 import residency_pb2 as pb
from tests.fakes.control_path import QUICK, ControlPath, eventually, serving
from tests.fakes.governor_client import failure_of
from tts_service.residency.types import Tier
from tts_service.types import VOICE


@pytest.fixture
def path() -> Iterator[ControlPath]:
    """Serve with short times and few places."""
    with serving(QUICK) as running:
        yield running


def test_get_residency_names_the_service(path: ControlPath) -> None:
    """The answer says which service it is, and which life of it."""
    answer = path.stub.GetResidency(pb.GetResidencyRequest(), timeout=10)

    assert ("default", "instance-1", 0, "") == (
        answer.service_name,
        answer.service_instance_id,
        answer.report.epoch,
        answer.report.holder_id,
    )


def test_watch_begins_with_a_snapshot_and_goes_on_with_changes(path: ControlPath) -> None:
    """A watcher sees what is, then what changes, and nothing in between."""
    watcher = path.stub.WatchResidency(pb.WatchResidencyRequest(), timeout=60)
    snapshot = next(watcher).report
    path.stub.PlaceModule(pb.PlaceModuleRequest(module="voice", tier=pb.TIER_DISK), timeout=10)
    change = next(update.report for update in watcher if update.report.modules[0].tier == pb.TIER_DISK)
    watcher.cancel()

    assert (pb.TIER_HOST, pb.TIER_DISK) == (snapshot.modules[0].tier, change.modules[0].tier)


def test_place_module_moves_and_releases(path: ControlPath) -> None:
    """An operator sends a module away, and lets it come back."""
    away = path.stub.PlaceModule(pb.PlaceModuleRequest(module="voice", tier=pb.TIER_DISK), timeout=10)
    back = path.stub.PlaceModule(pb.PlaceModuleRequest(module="voice"), timeout=10)

    assert (pb.TIER_DISK, pb.AUTHORITY_OPERATOR, "", pb.TIER_HOST) == (
        away.module.tier,
        away.module.authority,
        away.pending_reason,
        back.module.tier,
    )


def test_place_module_that_is_leased_says_what_it_waits_for(path: ControlPath) -> None:
    """An operator does not wait for ever, and the move is made later."""
    with path.manager.lease(VOICE):
        answer = path.stub.PlaceModule(pb.PlaceModuleRequest(module="voice", tier=pb.TIER_DISK), timeout=10)
    eventually(lambda: path.report().modules[0].tier == pb.TIER_DISK)

    assert ("leased", pb.TIER_HOST, 1) == (answer.pending_reason, answer.module.tier, answer.module.leases)


@pytest.mark.parametrize(
    ("request_message", "code", "reason"),
    [
        (pb.PlaceModuleRequest(module="nobody"), grpc.StatusCode.NOT_FOUND, "MODULE_NOT_FOUND"),
        (pb.PlaceModuleRequest(), grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONFIG"),
        (pb.PlaceModuleRequest(module="voice", tier=pb.TIER_DEVICE), grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONFIG"),
        (
            pb.PlaceModuleRequest(module="voice", tier=pb.Tier.ValueType(9)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "BAD_CONFIG",
        ),
    ],
)
def test_bad_placement_is_refused(
    path: ControlPath, request_message: pb.PlaceModuleRequest, code: grpc.StatusCode, reason: str
) -> None:
    """A module or tier that does not exist is the caller's fault."""
    with pytest.raises(grpc.RpcError) as refused:
        path.stub.PlaceModule(request_message, timeout=10)

    assert failure_of(refused.value)[:2] == (code, reason)


def test_place_module_while_governed_names_the_way_out(path: ControlPath) -> None:
    """With a governor in force, an operator is sent to it."""
    governor = path.governor()
    governor.hello("daemon")
    with pytest.raises(grpc.RpcError) as refused:
        path.stub.PlaceModule(pb.PlaceModuleRequest(module="voice", tier=pb.TIER_DISK), timeout=10)
    code, reason, metadata = failure_of(refused.value)

    assert (grpc.StatusCode.FAILED_PRECONDITION, "GOVERNED", "daemon", "PolicyService.SetOverride", Tier.HOST) == (
        code,
        reason,
        metadata["holder"],
        metadata["use"],
        path.manager.report().modules[0].tier,
    )


@pytest.mark.parametrize(("asked", "samples"), [(0, 1_000), (1, 1), (10_000, 10_000)])
def test_memory_report_has_as_many_samples_as_asked(path: ControlPath, asked: int, samples: int) -> None:
    """The number of samples is the caller's choice within bounds."""
    answer = path.stub.GetMemoryReport(pb.GetMemoryReportRequest(max_samples=asked), timeout=10)

    assert samples == len(answer.samples)


@pytest.mark.parametrize("asked", [-1, 10_001])
def test_memory_report_of_too_many_samples_is_refused(path: ControlPath, asked: int) -> None:
    """A number out of bounds is refused."""
    with pytest.raises(grpc.RpcError) as refused:
        path.stub.GetMemoryReport(pb.GetMemoryReportRequest(max_samples=asked), timeout=10)

    assert failure_of(refused.value)[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONFIG")


def test_manager_that_fails_a_report_is_an_engine_fault_without_internals(path: ControlPath) -> None:
    """What went wrong inside stays inside."""
    path.manager.fault = RuntimeError("secret")
    with pytest.raises(grpc.RpcError) as refused:
        path.report()

    assert ((grpc.StatusCode.INTERNAL, "ENGINE_FAULT", {}), False) == (
        failure_of(refused.value),
        "secret" in str(refused.value),
    )
