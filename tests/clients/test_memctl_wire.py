"""Messages as values, and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.memory.v1 import policy_pb2, residency_pb2
from memctl import policy_wire, residency_wire
from memctl.module_tables import residency_line
from memctl.report_types import Phase
from memctl.settings import BY_NAME, SETTINGS
from memctl.types import (
    Authority,
    ByteMark,
    ModuleState,
    OverrideKind,
    PercentMark,
    Pressure,
    SettingValue,
    Tier,
)
from memctl.wire_fields import WireEnum, named
from tests.fakes.fake_governed_service import FakeService
from tests.fakes.fake_policy_service import HOLDER, FakeDaemon, default_policy
from tests.fakes.manual_clock import ManualClock

NOW = 1_763_000_000.0
ENUMS = [
    (Tier, residency_pb2.Tier),
    (ModuleState, residency_pb2.ModuleState),
    (Authority, residency_pb2.Authority),
    (Phase, residency_pb2.Phase),
    (Pressure, policy_pb2.Pressure),
    (OverrideKind, policy_pb2.OverrideKind),
]


def test_settings_are_the_fields_of_the_wires_policy() -> None:
    """Every number of the policy has its line in the table, and the table has no other."""
    fields = {field.name for field in policy_pb2.Policy.DESCRIPTOR.fields} - {"etag", "revision"}

    assert fields == {setting.name for setting in SETTINGS}


@pytest.mark.parametrize(("values", "wire"), ENUMS)
def test_every_word_of_the_wire_has_a_value(values: type[Tier], wire: WireEnum) -> None:
    """Each enum of the wire, but for its zero, has a value of its own name."""
    numbers = [number for number in wire.values() if number]  # type: ignore[attr-defined]  # Protobuf's own.

    assert [wire.Name(number).endswith(named(values, wire, number).name) for number in numbers] == [True] * len(numbers)
    assert len(numbers) == len({named(values, wire, number) for number in numbers})


@pytest.mark.parametrize(("values", "wire"), ENUMS)
@pytest.mark.parametrize("number", [0, 99])
def test_word_from_the_future_is_unknown(values: type[Tier], wire: WireEnum, number: int) -> None:
    """A number that this build does not know, or that was not set, is no error."""
    assert values["UNKNOWN"] is named(values, wire, number)


def test_policy_is_read_whole() -> None:
    """Marks, durations, rate and switches all come through, with etag and revision."""
    policy = policy_wire.policy_of(default_policy())
    told = {name: value for name, value in policy.values.items() if value is not None}

    assert {
        "critical": PercentMark(5.0),
        "low": PercentMark(10.0),
        "high": PercentMark(15.0),
        "grace": 1.0,
        "cool_down": 2.0,
        "minimum_residence": 5.0,
        "minimum_absence": 5.0,
        "minimum_period": 0.1,
        "maximum_period": 1.0,
        "worst_fill_bytes_per_second": 6_000_000_000,
        "valid_for": 10.0,
        "renewal": 3.0,
        "background_restore": True,
        "dry_run": False,
    } == told
    assert ("e1", 1) == (policy.etag, policy.revision)


def test_policy_that_is_empty_has_no_numbers() -> None:
    """What the daemon does not set is None, not zero, where the wire can tell."""
    values = policy_wire.policy_of(policy_pb2.Policy()).values

    assert [None, None, 0, False] == [
        values["low"],
        values["grace"],
        values["worst_fill_bytes_per_second"],
        values["dry_run"],
    ]


SETTING_VALUES: dict[str, st.SearchStrategy[SettingValue]] = {
    "low": st.one_of(st.integers(0, 2**62).map(ByteMark), st.floats(0, 100).map(PercentMark)),
    "grace": st.integers(0, 10**12).map(lambda n: n / 1_000_000),
    "worst_fill_bytes_per_second": st.integers(0, 2**62),
    "dry_run": st.booleans(),
}


@settings(deadline=None, max_examples=100)
@given(st.fixed_dictionaries({}, optional=SETTING_VALUES))
def test_change_survives_the_wire_and_names_only_itself(values: dict[str, SettingValue]) -> None:
    """A change travels exactly, and its mask holds the changed fields and no other."""
    message, mask = policy_wire.policy_change(values)
    read = policy_wire.policy_of(message)

    assert list(values) == list(mask.paths)
    assert values == {name: read.values[name] for name in values}
    assert {field.name for field, _ in message.ListFields()} <= set(values) <= set(BY_NAME)


def test_status_is_read_with_each_devices_pressure_and_marks() -> None:
    """Samples, pressures and marks, which the wire keeps apart, are put together device by device."""
    daemon = FakeDaemon(FakeService(governor=HOLDER), clock=ManualClock(NOW))
    daemon.free_bytes = 2**28
    status = policy_wire.status_of(daemon.status())
    (device,) = status.devices

    assert ("host", NOW, 2**33, 2**28, Pressure.CRITICAL) == (
        device.device,
        device.unix_seconds,
        device.total_bytes,
        device.free_bytes,
        device.pressure,
    )
    assert device.marks is not None
    assert 2**33 * 5 // 100 == device.marks.critical_bytes
    assert [("default", True, 3, "host")] == [(s.service, s.governed, s.epoch, s.device) for s in status.services]


def test_status_with_fewer_marks_than_devices_keeps_the_devices() -> None:
    """A device whose pressure and marks are not told yet is shown without them."""
    response = policy_pb2.WatchStatusResponse(samples=[policy_pb2.Sample(device="GPU-1", total_bytes=10)])
    (device,) = policy_wire.status_of(response).devices

    assert ("GPU-1", None, Pressure.UNKNOWN, None) == (
        device.device,
        device.marks,
        device.pressure,
        device.unix_seconds,
    )


def test_marks_without_a_device_are_left_out() -> None:
    """A daemon that tells more pressures than samples makes up no device."""
    response = policy_pb2.WatchStatusResponse(pressures=[policy_pb2.PRESSURE_LOW], marks=[policy_pb2.Marks()])

    assert () == policy_wire.status_of(response).devices


def test_report_tells_never_from_zero() -> None:
    """What never happened and a budget that is not set are None."""
    report = residency_wire.report_of(
        residency_pb2.ResidencyReport(modules=[residency_pb2.ModuleStatus(module="voice")])
    )
    (module,) = report.modules

    assert [None] * 5 == [
        report.budget_bytes,
        report.unix_seconds,
        module.last_use_unix_seconds,
        module.restore_seconds,
        module.evict_seconds,
    ]
    assert 0 == residency_wire.report_of(residency_pb2.ResidencyReport(budget_bytes=0)).budget_bytes


def test_tier_that_is_not_set_is_automatic_both_ways() -> None:
    """The wire's unspecified tier means the service's own judgement."""
    assert [Tier.AUTO, Tier.DISK] == [residency_wire.tier_of(0), residency_wire.tier_of(3)]
    assert [0, 1, 2, 3] == [residency_wire.tier_number(tier) for tier in (Tier.AUTO, Tier.DEVICE, Tier.HOST, Tier.DISK)]


@pytest.mark.parametrize(("step_bytes", "words"), [(0, "home 0 B | "), (2**31, "home 0 B, a step needs 2.0 GiB | ")])
def test_report_tells_what_the_largest_step_needs_if_the_service_does(step_bytes: int, words: str) -> None:
    """An operator sees below which budget speech fails; an older service says nothing of it."""
    report = residency_wire.report_of(residency_pb2.ResidencyReport(largest_step_bytes=step_bytes))

    assert residency_line(report).startswith(words)
