"""`memctl trim`, and what `memctl get service` and `memctl report` tell of device, settings and history."""

from collections.abc import Iterator

import pytest

from greenroom.memory.v1 import residency_pb2
from memctl.residency_wire import device_usage_of
from memctl.service_types import DeviceUsage, MemoryKind, SettingSource
from memctl.wire_fields import WireEnum, named
from tests.fakes.fake_governed_service import MIB
from tests.fakes.memctl_desk import Desk
from tests.fakes.memctl_desk import desk as open_desk

DEVICE = residency_pb2.DeviceUsage(
    reserved_bytes=1_800 * MIB,
    allocated_bytes=1_700 * MIB,
    arena_bytes=1_500 * MIB,
    scratch_bytes=200 * MIB,
    free_bytes=40_000 * MIB,
    total_bytes=80_000 * MIB,
    largest_free_block_bytes=20 * MIB,
    context_bytes=423 * MIB,
    pinned_host_bytes=3_000 * MIB,
)


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Give a desk with a service and without a daemon."""
    with open_desk() as one:
        one.serve_service()
        yield one


def test_trim_tells_each_kind_before_and_after(desk: Desk) -> None:
    """Modules stay unless they are asked for; who asked travels along."""
    answer = desk.type("trim", "--by", "ann@desk")
    rows = [line.split() for line in answer.out.splitlines()]

    assert ["process", "1.2", "GiB", "600", "MiB", "600", "MiB"] in rows
    assert "No module was sent away." in answer.out
    assert [(False, "ann@desk")] == [(one.modules, one.requested_by) for one in desk.service.trims]


def test_trim_with_modules_names_those_that_left(desk: Desk) -> None:
    """Idle modules leave, also while a daemon governs; what is claimed stays."""
    desk.service.module("voice").claims = 1
    answer = desk.type("trim", "--modules")

    assert "Sent away: watermark.encoder, watermark.detector." in answer.out
    assert [line.split()[:3] for line in answer.out.splitlines() if line.startswith("modules")] == [
        ["modules", "at", "home"]
    ]


def test_trim_as_json_has_kinds_modules_and_device(desk: Desk) -> None:
    """The document has bytes under stable keys, and null where there is no device."""
    told = desk.type("trim", "--json").document

    assert {"service", "trimmed"} == set(told)
    assert {
        "kinds": [{"kind": "process", "before_bytes": 1_200 * MIB, "after_bytes": 600 * MIB, "obstacle": ""}],
        "modules": [],
        "device": None,
    } == told["trimmed"]


def test_trim_on_a_gpu_tells_what_is_held_afterwards(desk: Desk) -> None:
    """Whoever gives back wants to know what is left."""
    desk.service.report.device.CopyFrom(DEVICE)

    assert "context 423 MiB" in desk.type("trim").out


def test_trim_of_modules_that_never_move_is_refused(desk: Desk) -> None:
    """The refusal says why, as an error."""
    desk.service.fixed = True
    answer = desk.type("trim", "--modules", "--json")

    assert (1, "RESIDENCY_OFF") == (answer.exit_code, answer.error["reason"])


def test_trim_without_a_service_says_where_it_was_looked_for(desk: Desk) -> None:
    """Nobody is there to ask."""
    assert 3 == desk.type("trim", "--service", "gpu-1").exit_code


@pytest.mark.parametrize("columns", [80, 200])
def test_get_service_shows_every_setting_and_its_source(desk: Desk, columns: int) -> None:
    """What somebody set says where; a default says that it is one."""
    rows = [line.split() for line in desk.type("get", "service", columns=columns).out.splitlines()]

    assert ["residency.budget_bytes", "419430400", "flag", "command", "line"] in rows
    assert ["residency.history", "true", "default"] in rows


def test_get_service_as_json_has_the_settings(desk: Desk) -> None:
    """Each with its name, value, source, origin and meaning."""
    told = desk.type("get", "service", "--json").document["settings"]

    assert {
        "name": "residency.history",
        "value": "true",
        "source": "default",
        "origin": "",
        "description": "Keep samples of memory.",
    } == told[1]


def test_get_service_on_a_gpu_shows_how_its_memory_is_cut(desk: Desk) -> None:
    """Reserved, in use, arenas, scratch, context, largest free block, pinned and free."""
    desk.service.report.device.CopyFrom(DEVICE)
    shown = desk.type("get", "service", columns=200).out

    assert (
        "device 1.8 GiB, 1.7 GiB of it in use | arenas 1.5 GiB | scratch 200 MiB | context 423 MiB\n"
        "largest free block 20.0 MiB | pinned on the host 2.9 GiB | free for all 39.1 GiB of 78.1 GiB\n"
    ) in shown


def test_get_service_tells_of_speech_that_waits_on_the_host(desk: Desk) -> None:
    """How much of how much, how often and how long; refusals only where there were any."""
    desk.service.report.device.CopyFrom(DEVICE)
    waiting = desk.service.report.device.waiting
    waiting.CopyFrom(residency_pb2.WaitingUsage(segments=2, used_bytes=300 * MIB, most_bytes=1_024 * MIB, departures=9))
    waiting.away_duration.FromSeconds(70)
    shown = desk.type("get", "service", columns=200).out
    waiting.refusals = 3
    refused = desk.type("get", "service", columns=200).out

    line = "paused speech on the host: 2 segments, 300 MiB of 1.0 GiB | left 9 times for 70 s"
    assert f"{line}\n" in shown
    assert f"{line} | stayed 3 times for want of room\n" in refused


def test_get_service_leaves_out_what_is_not_known(desk: Desk) -> None:
    """A floor that nobody could measure is no zero; in JSON it is null."""
    unknown = residency_pb2.DeviceUsage(reserved_bytes=5 * MIB, allocated_bytes=5 * MIB)
    desk.service.report.device.CopyFrom(unknown)
    shown, told = desk.type("get", "service").out, desk.type("get", "service", "--json").document

    assert not [word for word in ("context", "largest free", "free for all") if word in shown]
    assert (None, None, 0) == tuple(
        told["report"]["device"][key] for key in ("context_bytes", "free_bytes", "arena_bytes")
    )


def test_get_service_on_a_cpu_has_no_device(desk: Desk) -> None:
    """There is nothing to tell of one."""
    assert desk.type("get", "service", "--json").document["report"]["device"] is None


def test_report_of_a_service_without_history_says_so(desk: Desk) -> None:
    """There are no phases and peaks to tell, and moves are told all the same."""
    desk.service.memory_report.CopyFrom(residency_pb2.GetMemoryReportResponse(history_off=True, evictions=5))
    shown = desk.type("report").out

    assert "keeps no history" in shown
    assert "5 times" in shown
    assert "Efficiency" not in shown


def test_report_of_a_gpu_tells_what_was_held_of_it(desk: Desk) -> None:
    """Averages and peaks by phase, and the peak of all."""
    phase = residency_pb2.PhaseUsage(
        phase=residency_pb2.PHASE_IDLE, samples=2, average_device_bytes=500 * MIB, peak_device_bytes=600 * MIB
    )
    desk.service.memory_report.CopyFrom(
        residency_pb2.GetMemoryReportResponse(phases=[phase], peak_device_bytes=2_000 * MIB)
    )
    rows = [line.split() for line in desk.type("report", columns=200).out.splitlines()]

    assert ["Device", "at", "its", "peak", "2.0", "GiB"] in rows
    assert ["500", "MiB", "600", "MiB"] == next(row for row in rows if row[:1] == ["idle"])[-4:]


@pytest.mark.parametrize(
    ("values", "wire"), [(MemoryKind, residency_pb2.MemoryKind), (SettingSource, residency_pb2.SettingSource)]
)
def test_every_word_of_the_wire_is_known(values: type[MemoryKind], wire: WireEnum) -> None:
    """Each kind and source has a value of its own name; one from the future is unknown."""
    numbers = [number for number in wire.values() if number]  # type: ignore[attr-defined]  # Protobuf's own.

    assert [wire.Name(number).endswith(named(values, wire, number).name) for number in numbers] == [True] * len(numbers)
    assert values["UNKNOWN"] is named(values, wire, 99)


def test_device_usage_is_read_whole() -> None:
    """Every field of the wire has one here, under its name."""
    fields = {field.name for field in residency_pb2.DeviceUsage.DESCRIPTOR.fields}

    assert fields == set(DeviceUsage.__slots__)
    assert {name: getattr(DEVICE, name) for name in fields - {"waiting"}} == {
        name: getattr(device_usage_of(DEVICE), name) for name in fields - {"waiting"}
    }
