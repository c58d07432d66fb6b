"""Trimming, settings, device usage and history on the wire: every field arrives, and what is not known is absent."""

from dataclasses import fields, replace

import pytest

from greenroom.memory.v1 import residency_pb2 as pb
from memctl.residency_wire import device_usage_of
from tests.fakes.fake_residency_manager import FakeResidencyManager
from tts_service.api import residency_messages, upkeep_messages
from tts_service.residency.trimming import MemoryKind, TrimmedKind, TrimReport
from tts_service.residency.types import DeviceUsage, Tier, WaitingUsage
from tts_service.settings_listing import EffectiveSetting, SettingSource
from tts_service.types import VOICE

USAGE = DeviceUsage(
    reserved_bytes=1,
    allocated_bytes=2,
    arena_bytes=3,
    scratch_bytes=4,
    pinned_host_bytes=5,
    free_bytes=6,
    total_bytes=7,
    largest_free_block_bytes=8,
    context_bytes=9,
)
WAITING = WaitingUsage(segments=1, used_bytes=2, held_bytes=3, most_bytes=4, departures=5, refusals=6, away_seconds=7.5)


def test_device_usage_message_carries_every_field() -> None:
    """Each has a field of its own name."""
    message = residency_messages.device_usage_message(USAGE)

    assert {each.name: getattr(USAGE, each.name) for each in fields(DeviceUsage) if each.name != "waiting"} == {
        each.name: getattr(message, each.name) for each in pb.DeviceUsage.DESCRIPTOR.fields if each.name != "waiting"
    }
    assert message is not None
    assert not message.HasField("waiting")


def test_what_waits_on_the_host_is_told_by_the_service_and_read_by_memctl() -> None:
    """Every figure arrives as it was."""
    message = residency_messages.device_usage_message(replace(USAGE, waiting=WAITING))
    assert message is not None
    read = device_usage_of(message).waiting
    assert read is not None

    assert {name: getattr(read, name) for name in read.__slots__} == {
        name: getattr(WAITING, name) for name in WAITING.__slots__
    }


def test_device_usage_that_is_not_known_is_absent() -> None:
    """A floor that nobody measured is no zero; one that was measured as zero is told."""
    unknown = residency_messages.device_usage_message(DeviceUsage(reserved_bytes=1, allocated_bytes=1))
    zero = residency_messages.device_usage_message(
        DeviceUsage(reserved_bytes=1, allocated_bytes=1, largest_free_block_bytes=0)
    )
    assert unknown is not None
    assert zero is not None

    assert [False] * 4 == [
        unknown.HasField(name) for name in ("free_bytes", "total_bytes", "largest_free_block_bytes", "context_bytes")
    ]
    assert zero.HasField("largest_free_block_bytes")


@pytest.mark.parametrize("kind", list(MemoryKind))
def test_trim_message_carries_every_field(kind: MemoryKind) -> None:
    """Kinds have their names on the wire."""
    trimmed = TrimmedKind(kind=kind, before_bytes=5, after_bytes=3, obstacle="in use")
    message = upkeep_messages.trim_message(TrimReport(kinds=(trimmed,), modules=(VOICE,), device=USAGE))

    assert (
        pb.TrimMemoryResponse(
            kinds=[
                pb.TrimmedMemory(
                    kind=pb.MemoryKind.Value(f"MEMORY_KIND_{kind.name}"),
                    before_bytes=5,
                    after_bytes=3,
                    obstacle="in use",
                )
            ],
            modules=["voice"],
            device=residency_messages.device_usage_message(USAGE),
        )
        == message
    )


@pytest.mark.parametrize("source", list(SettingSource))
def test_setting_message_carries_every_field(source: SettingSource) -> None:
    """Sources have their names on the wire."""
    setting = EffectiveSetting(name="workers", value="3", source=source, origin="file.toml", description="Steps.")

    assert [
        pb.Setting(
            name="workers",
            value="3",
            source=pb.SettingSource.Value(f"SETTING_SOURCE_{source.name}"),
            origin="file.toml",
            description="Steps.",
        )
    ] == upkeep_messages.settings_messages([setting])


def test_memory_report_of_a_device_tells_what_was_held_of_it() -> None:
    """Samples, phases and the whole have it; without a device they have not."""
    report = FakeResidencyManager().memory_report(1)
    sample = replace(report.samples[0], device_bytes=11)
    phase = replace(report.phases[0], average_device_bytes=12, peak_device_bytes=13)
    told = residency_messages.memory_report_message(
        replace(report, samples=(sample,), phases=(phase,), peak_device_bytes=14, history_kept=False)
    )
    silent = residency_messages.memory_report_message(report)

    assert (11, 12, 13, 14, True) == (
        told.samples[0].device_bytes,
        told.phases[0].average_device_bytes,
        told.phases[0].peak_device_bytes,
        told.peak_device_bytes,
        told.history_off,
    )
    assert [False] * 5 == [
        silent.samples[0].HasField("device_bytes"),
        silent.phases[0].HasField("average_device_bytes"),
        silent.phases[0].HasField("peak_device_bytes"),
        silent.HasField("peak_device_bytes"),
        silent.history_off,
    ]


@pytest.mark.parametrize(("rest", "number"), [(Tier.DISK, pb.TIER_DISK), (None, pb.TIER_UNSPECIFIED)])
def test_module_tells_where_it_rests(rest: Tier | None, number: int) -> None:
    """A module of a service that does not say has no tier there."""
    status = FakeResidencyManager().report().modules[0]

    assert number == residency_messages.module_message(replace(status, rest=rest)).rest
