"""What a service says, message to value, and what it is asked, value to message.

Beside `policy_wire` and `link`, nothing in `memctl` knows a message.
"""

from greenroom.memory.v1 import residency_pb2
from memctl.report_types import MemoryReport, MemorySample, Phase, PhaseUsage
from memctl.service_types import (
    DeviceUsage,
    MemoryKind,
    ServiceSetting,
    SettingSource,
    TrimAnswer,
    TrimmedMemory,
    WaitingUsage,
)
from memctl.types import (
    Authority,
    ModuleState,
    ModuleStatus,
    PendingMove,
    PlacementAnswer,
    Report,
    Residency,
    Tier,
)
from memctl.wire_fields import moment, named, number, seconds, span, unix_seconds


def residency_of(response: residency_pb2.GetResidencyResponse) -> Residency:
    """Return one service's own word on where everything is."""
    return Residency(
        service=response.service_name,
        service_instance_id=response.service_instance_id,
        report=report_of(response.report),
    )


def report_of(report: residency_pb2.ResidencyReport) -> Report:
    """Return what really is in one service."""
    return Report(
        unix_seconds=moment(report, "time"),
        modules=tuple(module_of(module) for module in report.modules),
        budget_bytes=report.budget_bytes if report.HasField("budget_bytes") else None,
        home_bytes=report.home_bytes,
        applied_version=report.applied_version,
        accepted_version=report.accepted_version,
        pending_moves=tuple(_pending_move(move) for move in report.pending_moves),
        sessions=report.sessions,
        queued_utterances=report.queued_utterances,
        process_bytes=report.process_bytes,
        released_bytes=report.released_bytes,
        epoch=report.epoch,
        holder_id=report.holder_id,
        restore_waits=report.restore_waits,
        restore_wait_seconds=seconds(report.restore_wait_duration),
        device=device_usage_of(report.device) if report.HasField("device") else None,
        largest_step_bytes=report.largest_step_bytes,
    )


def device_usage_of(usage: residency_pb2.DeviceUsage) -> DeviceUsage:
    """Return what a service holds of its device."""
    return DeviceUsage(
        reserved_bytes=usage.reserved_bytes,
        allocated_bytes=usage.allocated_bytes,
        arena_bytes=usage.arena_bytes,
        scratch_bytes=usage.scratch_bytes,
        pinned_host_bytes=usage.pinned_host_bytes,
        free_bytes=number(usage, "free_bytes"),
        total_bytes=number(usage, "total_bytes"),
        largest_free_block_bytes=number(usage, "largest_free_block_bytes"),
        context_bytes=number(usage, "context_bytes"),
        waiting=_waiting_of(usage.waiting) if usage.HasField("waiting") else None,
    )


def _waiting_of(usage: residency_pb2.WaitingUsage) -> WaitingUsage:
    return WaitingUsage(
        segments=usage.segments,
        used_bytes=usage.used_bytes,
        held_bytes=usage.held_bytes,
        most_bytes=usage.most_bytes,
        departures=usage.departures,
        refusals=usage.refusals,
        away_seconds=seconds(usage.away_duration),
    )


def module_of(module: residency_pb2.ModuleStatus) -> ModuleStatus:
    """Return one module as it really is."""
    return ModuleStatus(
        module=module.module,
        home=tier_of(module.home),
        tier=tier_of(module.tier),
        state=named(ModuleState, residency_pb2.ModuleState, module.state),
        bytes_by_tier={tier_of(held.tier): held.bytes for held in module.bytes},
        home_bytes=module.home_bytes,
        leases=module.leases,
        claims=module.claims,
        uses=module.uses,
        last_use_unix_seconds=moment(module, "last_use_time"),
        restore_seconds=span(module, "restore_duration"),
        evict_seconds=span(module, "evict_duration"),
        authority=named(Authority, residency_pb2.Authority, module.authority),
        restores=module.restores,
        evictions=module.evictions,
        pinned=module.pinned,
        rest=tier_of(module.rest),
    )


def placement_of(response: residency_pb2.PlaceModuleResponse) -> PlacementAnswer:
    """Return a module after it was placed."""
    return PlacementAnswer(module=module_of(response.module), pending_reason=response.pending_reason)


def trim_of(response: residency_pb2.TrimMemoryResponse) -> TrimAnswer:
    """Return what a trim gave back."""
    return TrimAnswer(
        kinds=tuple(_trimmed(each) for each in response.kinds),
        modules=tuple(response.modules),
        device=device_usage_of(response.device) if response.HasField("device") else None,
    )


def settings_of(response: residency_pb2.GetServiceConfigurationResponse) -> tuple[ServiceSetting, ...]:
    """Return a service's settings in force."""
    return tuple(
        ServiceSetting(
            name=one.name,
            value=one.value,
            source=named(SettingSource, residency_pb2.SettingSource, one.source),
            origin=one.origin,
            description=one.description,
        )
        for one in response.settings
    )


def memory_report_of(response: residency_pb2.GetMemoryReportResponse) -> MemoryReport:
    """Return how a service used memory."""
    return MemoryReport(
        samples=tuple(_memory_sample(sample) for sample in response.samples),
        phases=tuple(_phase_usage(usage) for usage in response.phases),
        peak_process_bytes=response.peak_process_bytes,
        peak_home_bytes=response.peak_home_bytes,
        average_home_bytes=response.average_home_bytes,
        all_home_bytes=response.all_home_bytes,
        efficiency=response.efficiency,
        restores=response.restores,
        evictions=response.evictions,
        restored_bytes=response.restored_bytes,
        released_bytes=response.released_bytes,
        modules=tuple(module_of(module) for module in response.modules),
        peak_device_bytes=number(response, "peak_device_bytes"),
        history_off=response.history_off,
    )


def tier_of(number: int) -> Tier:
    """Return a tier; the wire's unspecified one is the service's own judgement."""
    return Tier.AUTO if number == residency_pb2.TIER_UNSPECIFIED else named(Tier, residency_pb2.Tier, number)


def tier_number(tier: Tier) -> residency_pb2.Tier.ValueType:
    """Return a tier as the wire numbers it."""
    return residency_pb2.TIER_UNSPECIFIED if tier is Tier.AUTO else residency_pb2.Tier.Value(f"TIER_{tier.name}")


def _pending_move(move: residency_pb2.PendingMove) -> PendingMove:
    return PendingMove(module=move.module, tier=tier_of(move.tier), reason=move.reason)


def _trimmed(trimmed: residency_pb2.TrimmedMemory) -> TrimmedMemory:
    return TrimmedMemory(
        kind=named(MemoryKind, residency_pb2.MemoryKind, trimmed.kind),
        before_bytes=trimmed.before_bytes,
        after_bytes=trimmed.after_bytes,
        obstacle=trimmed.obstacle,
    )


def _memory_sample(sample: residency_pb2.MemorySample) -> MemorySample:
    return MemorySample(
        unix_seconds=unix_seconds(sample.time),
        phase=named(Phase, residency_pb2.Phase, sample.phase),
        process_bytes=sample.process_bytes,
        home_bytes=sample.home_bytes,
        device_bytes=number(sample, "device_bytes"),
    )


def _phase_usage(usage: residency_pb2.PhaseUsage) -> PhaseUsage:
    return PhaseUsage(
        phase=named(Phase, residency_pb2.Phase, usage.phase),
        samples=usage.samples,
        average_process_bytes=usage.average_process_bytes,
        peak_process_bytes=usage.peak_process_bytes,
        average_home_bytes=usage.average_home_bytes,
        peak_home_bytes=usage.peak_home_bytes,
        average_device_bytes=number(usage, "average_device_bytes"),
        peak_device_bytes=number(usage, "peak_device_bytes"),
    )
