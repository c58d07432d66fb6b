"""Trimming, settings, and a service whose modules never move, over a real Unix socket."""

from collections.abc import Iterator

import grpc
import pytest
from structlog.testing import capture_logs

from greenroom.memory.v1 import residency_pb2 as pb
from tests.fakes.control_path import QUICK, ControlPath, serving
from tests.fakes.governor_client import failure_of
from tts_service.settings_listing import EffectiveSetting, SettingSource
from tts_service.types import VOICE

SETTINGS = (
    EffectiveSetting(
        name="residency.budget_bytes", value="7", source=SettingSource.FLAG, origin="command line", description="Bytes."
    ),
    EffectiveSetting(name="workers", value="2", source=SettingSource.DEFAULT, origin="", description="Steps."),
)


@pytest.fixture
def path() -> Iterator[ControlPath]:
    """Serve with short times."""
    with serving(QUICK, settings=SETTINGS) as running:
        yield running


@pytest.fixture
def fixed() -> Iterator[ControlPath]:
    """Serve modules that never move."""
    with serving(QUICK, fixed=True) as running:
        yield running


def test_trim_tells_kinds_and_leaves_modules_unasked(path: ControlPath) -> None:
    """Without being asked for, no module leaves."""
    answer = path.stub.TrimMemory(pb.TrimMemoryRequest(), timeout=10)

    assert [pb.MEMORY_KIND_PROCESS] == [each.kind for each in answer.kinds]
    assert (100, 50, "busy") == (answer.kinds[0].before_bytes, answer.kinds[0].after_bytes, answer.kinds[0].obstacle)
    assert ([], False) == (list(answer.modules), answer.HasField("device"))


def test_trim_with_modules_works_under_a_governor_and_twice(path: ControlPath) -> None:
    """It is no placement: idle modules leave whoever governs, and asking again finds nothing more."""
    path.governor().hello("daemon")
    with path.manager.lease(VOICE):
        first = path.stub.TrimMemory(pb.TrimMemoryRequest(modules=True), timeout=10)
        again = path.stub.TrimMemory(pb.TrimMemoryRequest(modules=True), timeout=10)

    assert ["watermark.encoder", "watermark.detector"] == list(first.modules)
    assert first.modules == again.modules


def test_trim_is_in_the_log_with_who_asked(path: ControlPath) -> None:
    """One event says who, what left and what came back; of a long name the beginning."""
    with capture_logs() as logs:
        path.stub.TrimMemory(pb.TrimMemoryRequest(modules=True, requested_by="ann" + "x" * 200), timeout=10)
    (event,) = [each for each in logs if each["event"] == "memory_trimmed"]

    assert ("ann" + "x" * 125, 3, {"process": 50}) == (
        event["requested_by"],
        len(event["modules"]),
        event["given_back_bytes"],
    )


def test_trim_waits_no_longer_than_its_caller(path: ControlPath) -> None:
    """The manager hears of the shorter of the caller's patience and the service's."""
    path.stub.TrimMemory(pb.TrimMemoryRequest(), timeout=100)
    path.stub.TrimMemory(pb.TrimMemoryRequest(), timeout=0.3)
    long, short = (seconds for _, seconds in path.manager.trims)

    assert QUICK.place_seconds == long
    assert 0 <= short < 0.3


def test_settings_are_told_with_their_source(path: ControlPath) -> None:
    """Every setting as it is in force, with where it came from, and which service that is."""
    answer = path.stub.GetServiceConfiguration(pb.GetServiceConfigurationRequest(), timeout=10)

    assert [
        ("residency.budget_bytes", "7", pb.SETTING_SOURCE_FLAG, "command line", "Bytes."),
        ("workers", "2", pb.SETTING_SOURCE_DEFAULT, "", "Steps."),
    ] == [(each.name, each.value, each.source, each.origin, each.description) for each in answer.settings]
    assert ("default", "instance-1") == (answer.service_name, answer.service_instance_id)


def test_device_is_looked_at_closely_for_those_who_ask_alone(path: ControlPath) -> None:
    """What takes time to find out is found out for GetResidency, and not for every report on a stream."""
    path.governor().hello("daemon")
    streamed = path.manager.close_looks
    path.report()

    assert (0, 1) == (streamed, path.manager.close_looks)


def test_fixed_service_refuses_governors_and_placements_with_the_reason(fixed: ControlPath) -> None:
    """Whoever wants modules moved is told at once that they never are, and which setting says so."""
    with pytest.raises(grpc.RpcError) as placed:
        fixed.stub.PlaceModule(pb.PlaceModuleRequest(module="voice", tier=pb.TIER_DISK), timeout=10)
    with pytest.raises(grpc.RpcError) as trimmed:
        fixed.stub.TrimMemory(pb.TrimMemoryRequest(modules=True), timeout=10)
    with pytest.raises(grpc.RpcError) as governed:
        next(fixed.stub.Govern(iter([pb.GovernRequest(hello=pb.Hello(holder_id="daemon"))]), timeout=10))
    expected = (grpc.StatusCode.FAILED_PRECONDITION, "RESIDENCY_OFF", {"setting": "residency.enabled"})

    assert [expected] * 3 == [failure_of(each.value) for each in (placed, trimmed, governed)]


def test_fixed_service_tells_and_gives_back_what_is_no_module(fixed: ControlPath) -> None:
    """Reports, watches and trims without modules go on."""
    watched = next(fixed.stub.WatchResidency(pb.WatchResidencyRequest(), timeout=10)).report
    trimmed = fixed.stub.TrimMemory(pb.TrimMemoryRequest(), timeout=10)

    assert [pb.TIER_HOST] * 3 == [each.tier for each in watched.modules]
    assert 1 == len(trimmed.kinds)
