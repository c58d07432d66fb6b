"""Messages of the control path to values and back."""

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.memory.v1 import residency_pb2 as pb
from tests.fakes.fake_residency_manager import FakeResidencyManager
from tts_service.api import residency_messages as messages
from tts_service.errors import CallerError, Reason
from tts_service.residency.governor import Hello
from tts_service.residency.history import Phase
from tts_service.residency.types import (
    Authority,
    Device,
    DeviceUsage,
    Directive,
    ModuleState,
    ModuleStatus,
    PendingMove,
    Placement,
    Tier,
    Urgency,
)
from tts_service.types import VOICE, ModuleName

REPORT = FakeResidencyManager().report()


def status(**changes: Any) -> ModuleStatus:
    """Return a module's status with every field of its own."""
    known = ModuleStatus(
        module=VOICE,
        home=Tier.HOST,
        tier=Tier.DISK,
        state=ModuleState.EVICTING,
        bytes_by_tier={Tier.DISK: 30, Tier.HOST: 20},
        home_bytes=3,
        leases=4,
        claims=5,
        uses=6,
        last_use_unix_seconds=1_700_000_000.5,
        restore_seconds=0.25,
        evict_seconds=0.125,
        authority=Authority.DEMAND,
        restores=7,
        evictions=8,
        pinned=True,
    )
    return replace(known, **changes)


def test_hello_carries_all_it_says() -> None:
    """Name, takeover and what it calls itself arrive."""
    message = pb.Hello(holder_id="daemon 1", takeover=True, display_name="mine")

    assert Hello(holder_id="daemon 1", takeover=True, display_name="mine") == messages.hello_of(message)


def test_long_display_name_is_cut() -> None:
    """What is only for the log is bounded, not refused."""
    assert 128 == len(messages.hello_of(pb.Hello(holder_id="x", display_name="n" * 10_000)).display_name)


@pytest.mark.parametrize("holder_id", ["", "x" * 129, "\x7f", "\x00", "é", "\u2028"])
def test_holder_id_that_is_not_printable_ascii_is_refused(holder_id: str) -> None:
    """The name must be safe to print and to compare."""
    with pytest.raises(CallerError) as refused:
        messages.hello_of(pb.Hello(holder_id=holder_id))

    assert (Reason.BAD_CONFIG, "hello.holder_id") == (refused.value.reason, refused.value.violations[0].field)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=128))
@settings(deadline=None, max_examples=50)
def test_printable_ascii_is_a_holder_id(holder_id: str) -> None:
    """Every printable ASCII name of allowed length is taken as it is."""
    assert holder_id == messages.hello_of(pb.Hello(holder_id=holder_id)).holder_id


def test_directive_carries_all_it_says() -> None:
    """Every field of a directive arrives in its unit."""
    message = pb.Directive(
        epoch=3,
        version=4,
        valid_for=Duration(seconds=2, nanos=500_000_000),
        budget_bytes=0,
        placements=[
            pb.Placement(module="voice", tier=pb.TIER_DISK, urgency=pb.URGENCY_WHEN_UNLEASED),
            pb.Placement(module="other", tier=pb.TIER_DEVICE),
        ],
        reason="low",
    )
    expected = Directive(
        epoch=3,
        version=4,
        valid_for_seconds=2.5,
        budget_bytes=0,
        placements=(
            Placement(module=VOICE, tier=Tier.DISK, urgency=Urgency.WHEN_UNLEASED),
            Placement(module=ModuleName("other"), tier=Tier.DEVICE, urgency=Urgency.WHEN_UNCLAIMED),
        ),
        reason="low",
    )

    assert expected == messages.directive_of(message)


def test_directive_without_budget_keeps_the_static_one() -> None:
    """No budget is not a budget of nothing."""
    assert messages.directive_of(pb.Directive()).budget_bytes is None


def test_directive_with_several_bad_placements_names_them_all() -> None:
    """Everything that is wrong is told at once, by its place."""
    message = pb.Directive(
        placements=[
            pb.Placement(module="voice", tier=pb.TIER_HOST),
            pb.Placement(tier=pb.Tier.ValueType(9)),
            pb.Placement(module="voice", tier=pb.TIER_HOST, urgency=pb.Urgency.ValueType(5)),
        ]
    )
    with pytest.raises(CallerError) as refused:
        messages.directive_of(message)

    assert ["placements[1].module", "placements[1].tier", "placements[2].urgency"] == [
        violation.field for violation in refused.value.violations
    ]


def test_directive_with_too_many_placements_is_refused() -> None:
    """A directive is bounded."""
    with pytest.raises(CallerError) as refused:
        messages.directive_of(pb.Directive(placements=[pb.Placement()] * 257))

    assert ["placements"] == [violation.field for violation in refused.value.violations]


def test_nack_of_unknown_module_is_a_bad_argument() -> None:
    """In a directive an unknown module is a bad value, though the reason is the same everywhere."""
    nack = messages.nack(7, CallerError(Reason.MODULE_NOT_FOUND, "no such module")).nack
    info = error_details_pb2.ErrorInfo()
    assert nack.error.details[0].Unpack(info)

    assert (7, 3, "MODULE_NOT_FOUND") == (nack.version, nack.error.code, info.reason)


def test_module_message_carries_every_field() -> None:
    """A module's status arrives whole, with bytes from the nearest tier to the farthest."""
    message = messages.module_message(status())
    expected = pb.ModuleStatus(
        module="voice",
        home=pb.TIER_HOST,
        tier=pb.TIER_DISK,
        state=pb.MODULE_STATE_EVICTING,
        bytes=[pb.TierBytes(tier=pb.TIER_HOST, bytes=20), pb.TierBytes(tier=pb.TIER_DISK, bytes=30)],
        home_bytes=3,
        leases=4,
        claims=5,
        uses=6,
        authority=pb.AUTHORITY_DEMAND,
        restores=7,
        evictions=8,
        pinned=True,
    )
    expected.last_use_time.FromJsonString("2023-11-14T22:13:20.500Z")
    expected.restore_duration.FromMilliseconds(250)
    expected.evict_duration.FromMilliseconds(125)

    assert expected == message


def test_what_never_happened_is_absent() -> None:
    """A module that was never used or moved has no times."""
    message = messages.module_message(status(last_use_unix_seconds=None, restore_seconds=None, evict_seconds=None))

    assert [False] * 3 == [message.HasField(field) for field in ("last_use_time", "restore_duration", "evict_duration")]


@pytest.mark.parametrize("state", list(ModuleState))
@pytest.mark.parametrize("authority", list(Authority))
def test_states_and_authorities_have_their_names_on_the_wire(state: ModuleState, authority: Authority) -> None:
    """No state and no authority is without a word on the wire."""
    message = messages.module_message(status(state=state, authority=authority))

    assert (f"MODULE_STATE_{state.name}", f"AUTHORITY_{authority.name}") == (
        pb.ModuleState.Name(message.state),
        pb.Authority.Name(message.authority),
    )


@pytest.mark.parametrize("tier", list(Tier))
def test_tiers_have_their_names_on_the_wire(tier: Tier) -> None:
    """No tier is without a word on the wire."""
    message = messages.device_message(Device(device_id="gpu", tier=tier, display_name="d"))

    assert ("gpu", f"TIER_{tier.name}", "d") == (message.id, pb.Tier.Name(message.tier), message.display_name)


def test_report_message_carries_every_field() -> None:
    """A report arrives whole."""
    report = replace(
        REPORT,
        budget_bytes=0,
        home_bytes=2,
        applied_version=3,
        accepted_version=4,
        pending_moves=(PendingMove(module=VOICE, tier=Tier.DISK, reason="leased"),),
        process_bytes=5,
        released_bytes=6,
        epoch=7,
        holder_id="h",
        restore_waits=8,
        restore_wait_seconds=1.5,
        sessions=9,
        queued_utterances=10,
        device=DeviceUsage(reserved_bytes=12, allocated_bytes=11),
        largest_step_bytes=13,
    )
    message = messages.report_message(report)
    expected = pb.ResidencyReport(
        modules=[messages.module_message(module) for module in report.modules],
        budget_bytes=0,
        home_bytes=2,
        applied_version=3,
        accepted_version=4,
        pending_moves=[pb.PendingMove(module="voice", tier=pb.TIER_DISK, reason="leased")],
        process_bytes=5,
        released_bytes=6,
        epoch=7,
        holder_id="h",
        restore_waits=8,
        sessions=9,
        queued_utterances=10,
        device=pb.DeviceUsage(reserved_bytes=12, allocated_bytes=11),
        largest_step_bytes=13,
    )
    expected.time.FromJsonString("2023-11-14T22:13:20.250Z")
    expected.restore_wait_duration.FromMilliseconds(1_500)

    assert expected == message


def test_report_of_host_memory_has_no_device() -> None:
    """Where modules compute in host memory, nothing is said of a device."""
    assert not messages.report_message(replace(REPORT, device=None)).HasField("device")


def test_report_without_budget_has_none() -> None:
    """No bound is not a bound of nothing."""
    assert not messages.report_message(replace(REPORT, budget_bytes=None)).HasField("budget_bytes")


@pytest.mark.parametrize("phase", list(Phase))
def test_phases_have_their_names_on_the_wire(phase: Phase) -> None:
    """No phase is without a word on the wire."""
    report = FakeResidencyManager().memory_report(1)
    sample = replace(report.samples[0], phase=phase)
    usage = replace(report.phases[0], phase=phase)
    message = messages.memory_report_message(replace(report, samples=(sample,), phases=(usage,)))

    assert [f"PHASE_{phase.name}"] * 2 == [
        pb.Phase.Name(message.samples[0].phase),
        pb.Phase.Name(message.phases[0].phase),
    ]


def test_memory_report_message_carries_every_field() -> None:
    """A memory report arrives whole."""
    message = messages.memory_report_message(FakeResidencyManager().memory_report(1))
    sample = pb.MemorySample(phase=pb.PHASE_IDLE, process_bytes=7, home_bytes=5)
    sample.time.FromMilliseconds(1_500)
    usage = pb.PhaseUsage(
        phase=pb.PHASE_IDLE,
        samples=20_000,
        average_process_bytes=7,
        peak_process_bytes=8,
        average_home_bytes=5,
        peak_home_bytes=6,
    )
    expected = pb.GetMemoryReportResponse(
        samples=[sample],
        phases=[usage],
        peak_process_bytes=8,
        peak_home_bytes=6,
        average_home_bytes=5,
        all_home_bytes=10,
        efficiency=0.5,
        restores=1,
        evictions=2,
        restored_bytes=3,
        released_bytes=4,
        modules=[messages.module_message(module) for module in REPORT.modules],
    )

    assert expected == message
