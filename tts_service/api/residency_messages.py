"""The control path's messages to values and back; nothing else knows both."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2

from greenroom.memory.v1 import residency_pb2 as pb
from tts_service.api import statuses
from tts_service.errors import CallerError, FieldViolation, GreenroomError, Reason, bad_config
from tts_service.residency.governor import Hello
from tts_service.residency.history import MemoryReport, MemorySample, Phase, PhaseUsage
from tts_service.residency.types import (
    Authority,
    Device,
    DeviceUsage,
    Directive,
    ModuleState,
    ModuleStatus,
    PendingMove,
    Placement,
    ResidencyReport,
    Tier,
    Urgency,
    WaitingUsage,
)
from tts_service.types import ModuleName

PROTOCOL_VERSION = 1
HOLDER_ID_MAXIMUM = 128
PLACEMENTS_MAXIMUM = 256
"""Far above the number of modules of any model."""
DISPLAY_NAME_MAXIMUM = 128
"""Characters of what a governor calls itself that are kept for the log."""
SAMPLES_DEFAULT = 1_000
SAMPLES_MAXIMUM = 10_000

_URGENCIES = {
    pb.URGENCY_UNSPECIFIED: Urgency.WHEN_UNCLAIMED,
    pb.URGENCY_WHEN_UNCLAIMED: Urgency.WHEN_UNCLAIMED,
    pb.URGENCY_WHEN_UNLEASED: Urgency.WHEN_UNLEASED,
}
_TIERS = {pb.TIER_DEVICE: Tier.DEVICE, pb.TIER_HOST: Tier.HOST, pb.TIER_DISK: Tier.DISK}
_TIERS_OUT = {tier: number for number, tier in _TIERS.items()}
_STATES_OUT = {
    ModuleState.RESTING: pb.MODULE_STATE_RESTING,
    ModuleState.RESTORING: pb.MODULE_STATE_RESTORING,
    ModuleState.EVICTING: pb.MODULE_STATE_EVICTING,
    ModuleState.BROKEN: pb.MODULE_STATE_BROKEN,
}
_AUTHORITIES_OUT = {
    Authority.DEFAULT: pb.AUTHORITY_DEFAULT,
    Authority.DIRECTIVE: pb.AUTHORITY_DIRECTIVE,
    Authority.OPERATOR: pb.AUTHORITY_OPERATOR,
    Authority.DEMAND: pb.AUTHORITY_DEMAND,
}
_PHASES_OUT = {
    Phase.STARTING: pb.PHASE_STARTING,
    Phase.IDLE: pb.PHASE_IDLE,
    Phase.SPEAKING: pb.PHASE_SPEAKING,
    Phase.MOVING: pb.PHASE_MOVING,
}


def hello_of(message: pb.Hello) -> Hello:
    """Return how a governor introduces itself; raises CallerError BAD_CONFIG for a bad holder_id."""
    holder_id = message.holder_id
    printable = holder_id.isascii() and holder_id.isprintable()
    if not 1 <= len(holder_id) <= HOLDER_ID_MAXIMUM or not printable:
        raise bad_config("hello.holder_id", f"must be 1 to {HOLDER_ID_MAXIMUM} printable ASCII characters")
    display_name = message.display_name[:DISPLAY_NAME_MAXIMUM]
    return Hello(holder_id=holder_id, takeover=message.takeover, display_name=display_name)


def directive_of(message: pb.Directive) -> Directive:
    """Return a directive; raises CallerError BAD_CONFIG naming every placement that is none."""
    if len(message.placements) > PLACEMENTS_MAXIMUM:
        raise bad_config("placements", f"at most {PLACEMENTS_MAXIMUM}")
    violations = [
        violation for position, placement in enumerate(message.placements) for violation in _faults(position, placement)
    ]
    if violations:
        words = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        raise CallerError(Reason.BAD_CONFIG, words, violations=tuple(violations))
    return Directive(
        epoch=message.epoch,
        version=message.version,
        valid_for_seconds=message.valid_for.seconds + message.valid_for.nanos / 1e9,
        budget_bytes=message.budget_bytes if message.HasField("budget_bytes") else None,
        placements=tuple(_placement_of(placement) for placement in message.placements),
        reason=message.reason,
    )


def place_request_of(message: pb.PlaceModuleRequest) -> tuple[ModuleName, Tier | None]:
    """Return the module and the tier to keep it in, None to release it; raises CallerError BAD_CONFIG."""
    if not message.module:
        raise bad_config("module", "must be given")
    if message.tier == pb.TIER_UNSPECIFIED:
        return ModuleName(message.module), None
    if message.tier not in _TIERS:
        raise bad_config("tier", f"{message.tier} is no tier")
    return ModuleName(message.module), _TIERS[message.tier]


def max_samples_of(message: pb.GetMemoryReportRequest) -> int:
    """Return how many samples are asked for; raises CallerError BAD_CONFIG."""
    if not 0 <= message.max_samples <= SAMPLES_MAXIMUM:
        raise bad_config("max_samples", f"must be 1 to {SAMPLES_MAXIMUM}, or 0 for {SAMPLES_DEFAULT}")
    return message.max_samples or SAMPLES_DEFAULT


def ack(version: int) -> pb.GovernResponse:
    """Return the message that accepts a directive."""
    return pb.GovernResponse(ack=pb.Ack(version=version))


def nack(version: int, error: Exception) -> pb.GovernResponse:
    """Return the message that refuses a directive; an unknown module is a bad argument here, not a missing resource."""
    status = statuses.to_status(error)
    if isinstance(error, GreenroomError) and error.reason is Reason.MODULE_NOT_FOUND:
        status.code = code_pb2.INVALID_ARGUMENT
    return pb.GovernResponse(nack=pb.Nack(version=version, error=status))


def device_message(device: Device) -> pb.Device:
    """Return the message of a device."""
    return pb.Device(id=device.device_id, tier=_TIERS_OUT[device.tier], display_name=device.display_name)


def report_message(report: ResidencyReport) -> pb.ResidencyReport:
    """Return the message of a report."""
    return pb.ResidencyReport(
        time=timestamp(report.unix_seconds),
        modules=[module_message(module) for module in report.modules],
        budget_bytes=report.budget_bytes,
        home_bytes=report.home_bytes,
        applied_version=report.applied_version,
        accepted_version=report.accepted_version,
        pending_moves=[_pending_message(move) for move in report.pending_moves],
        sessions=report.sessions,
        queued_utterances=report.queued_utterances,
        process_bytes=report.process_bytes,
        released_bytes=report.released_bytes,
        epoch=report.epoch,
        holder_id=report.holder_id,
        restore_waits=report.restore_waits,
        restore_wait_duration=duration(report.restore_wait_seconds),
        device=device_usage_message(report.device),
        largest_step_bytes=report.largest_step_bytes,
    )


def device_usage_message(usage: DeviceUsage | None) -> pb.DeviceUsage | None:
    """Return the message of what is held of a device; what is not known is absent."""
    if usage is None:
        return None
    return pb.DeviceUsage(
        reserved_bytes=usage.reserved_bytes,
        allocated_bytes=usage.allocated_bytes,
        arena_bytes=usage.arena_bytes,
        scratch_bytes=usage.scratch_bytes,
        free_bytes=usage.free_bytes,
        total_bytes=usage.total_bytes,
        largest_free_block_bytes=usage.largest_free_block_bytes,
        context_bytes=usage.context_bytes,
        pinned_host_bytes=usage.pinned_host_bytes,
        waiting=None if usage.waiting is None else _waiting_message(usage.waiting),
    )


def _waiting_message(usage: WaitingUsage) -> pb.WaitingUsage:
    return pb.WaitingUsage(
        segments=usage.segments,
        used_bytes=usage.used_bytes,
        held_bytes=usage.held_bytes,
        most_bytes=usage.most_bytes,
        departures=usage.departures,
        refusals=usage.refusals,
        away_duration=duration(usage.away_seconds),
    )


def module_message(module: ModuleStatus) -> pb.ModuleStatus:
    """Return the message of one module's status; what never happened is absent."""
    return pb.ModuleStatus(
        module=module.module,
        home=_TIERS_OUT[module.home],
        tier=_TIERS_OUT[module.tier],
        state=_STATES_OUT[module.state],
        bytes=[
            pb.TierBytes(tier=_TIERS_OUT[tier], bytes=count) for tier, count in sorted(module.bytes_by_tier.items())
        ],
        home_bytes=module.home_bytes,
        leases=module.leases,
        claims=module.claims,
        uses=module.uses,
        last_use_time=None if module.last_use_unix_seconds is None else timestamp(module.last_use_unix_seconds),
        restore_duration=None if module.restore_seconds is None else duration(module.restore_seconds),
        evict_duration=None if module.evict_seconds is None else duration(module.evict_seconds),
        authority=_AUTHORITIES_OUT[module.authority],
        restores=module.restores,
        evictions=module.evictions,
        pinned=module.pinned,
        rest=pb.TIER_UNSPECIFIED if module.rest is None else _TIERS_OUT[module.rest],
    )


def memory_report_message(report: MemoryReport) -> pb.GetMemoryReportResponse:
    """Return the message of a memory report."""
    return pb.GetMemoryReportResponse(
        samples=[_sample_message(sample) for sample in report.samples],
        phases=[_phase_message(usage) for usage in report.phases],
        peak_process_bytes=report.peak_process_bytes,
        peak_home_bytes=report.peak_home_bytes,
        average_home_bytes=report.average_home_bytes,
        all_home_bytes=report.all_home_bytes,
        efficiency=report.efficiency,
        restores=report.restores,
        evictions=report.evictions,
        restored_bytes=report.restored_bytes,
        released_bytes=report.released_bytes,
        modules=[module_message(module) for module in report.modules],
        history_off=not report.history_kept,
        peak_device_bytes=report.peak_device_bytes,
    )


def timestamp(unix_seconds: float) -> Timestamp:
    """Return a moment as a message, to the microsecond: a float holds no more of today's date."""
    moment = Timestamp()
    moment.FromMicroseconds(round(unix_seconds * 1e6))
    return moment


def duration(seconds: float) -> Duration:
    """Return a length of time as a message."""
    length = Duration()
    length.FromNanoseconds(round(seconds * 1e9))
    return length


def _sample_message(sample: MemorySample) -> pb.MemorySample:
    return pb.MemorySample(
        time=timestamp(sample.unix_seconds),
        phase=_PHASES_OUT[sample.phase],
        process_bytes=sample.process_bytes,
        home_bytes=sample.home_bytes,
        device_bytes=sample.device_bytes,
    )


def _phase_message(usage: PhaseUsage) -> pb.PhaseUsage:
    return pb.PhaseUsage(
        phase=_PHASES_OUT[usage.phase],
        samples=usage.samples,
        average_process_bytes=usage.average_process_bytes,
        peak_process_bytes=usage.peak_process_bytes,
        average_home_bytes=usage.average_home_bytes,
        peak_home_bytes=usage.peak_home_bytes,
        average_device_bytes=usage.average_device_bytes,
        peak_device_bytes=usage.peak_device_bytes,
    )


def _pending_message(move: PendingMove) -> pb.PendingMove:
    return pb.PendingMove(module=move.module, tier=_TIERS_OUT[move.tier], reason=move.reason)


def _placement_of(message: pb.Placement) -> Placement:
    return Placement(module=ModuleName(message.module), tier=_TIERS[message.tier], urgency=_URGENCIES[message.urgency])


def _faults(position: int, message: pb.Placement) -> list[FieldViolation]:
    where = f"placements[{position}]"
    checks = (
        ("module", bool(message.module), "must be given"),
        ("tier", message.tier in _TIERS, "must be TIER_DEVICE, TIER_HOST or TIER_DISK"),
        ("urgency", message.urgency in _URGENCIES, f"{message.urgency} is no urgency"),
    )
    return [FieldViolation(field=f"{where}.{field}", description=words) for field, holds, words in checks if not holds]
