"""What a service says, message to value and back; what it is told, value to message.

A newer service may say words that this daemon does not know: an unknown state or authority is UNKNOWN, and a module in
a tier without a number is left out, because it cannot be governed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from greenroom.memory.v1 import residency_pb2
from memory_daemon.types import (
    Authority,
    Device,
    DeviceId,
    Directive,
    ModuleName,
    ModuleState,
    ModuleStatus,
    PendingMove,
    Placement,
    ResidencyReport,
    Tier,
    TierBytes,
    Urgency,
)
from memory_daemon.usage import DeviceUsage, TrimAnswer

_STATES = {
    residency_pb2.MODULE_STATE_RESTING: ModuleState.RESTING,
    residency_pb2.MODULE_STATE_RESTORING: ModuleState.RESTORING,
    residency_pb2.MODULE_STATE_EVICTING: ModuleState.EVICTING,
    residency_pb2.MODULE_STATE_BROKEN: ModuleState.BROKEN,
}
_AUTHORITIES = {
    residency_pb2.AUTHORITY_DEFAULT: Authority.DEFAULT,
    residency_pb2.AUTHORITY_DIRECTIVE: Authority.DIRECTIVE,
    residency_pb2.AUTHORITY_OPERATOR: Authority.OPERATOR,
    residency_pb2.AUTHORITY_DEMAND: Authority.DEMAND,
}
_STATE_NUMBERS = {state: number for number, state in _STATES.items()}
_AUTHORITY_NUMBERS = {authority: number for number, authority in _AUTHORITIES.items()}
_URGENCY_NUMBERS = {
    Urgency.WHEN_UNCLAIMED: residency_pb2.URGENCY_WHEN_UNCLAIMED,
    Urgency.WHEN_UNLEASED: residency_pb2.URGENCY_WHEN_UNLEASED,
}


_USAGE = ("reserved_bytes", "allocated_bytes", "arena_bytes", "scratch_bytes", "pinned_host_bytes")
_USAGE_IF_TOLD: tuple[Literal["free_bytes", "total_bytes", "largest_free_block_bytes", "context_bytes"], ...] = (
    "free_bytes",
    "total_bytes",
    "largest_free_block_bytes",
    "context_bytes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """A service's answer to hello."""

    epoch: int
    instance_id: str
    service_name: str
    protocol_version: int
    devices: tuple[Device, ...]
    report: ResidencyReport


def welcome_of(message: residency_pb2.Welcome) -> Welcome:
    """Return a welcome; devices without a known tier are left out."""
    return Welcome(
        epoch=message.epoch,
        instance_id=message.service_instance_id,
        service_name=message.service_name,
        protocol_version=message.protocol_version,
        devices=tuple(
            Device(device=DeviceId(device.id), tier=Tier(device.tier), display_name=device.display_name)
            for device in message.devices
            if _is_tier(device.tier)
        ),
        report=report_of(message.report),
    )


def report_of(
    message: residency_pb2.ResidencyReport, modules: tuple[ModuleStatus, ...] | None = None
) -> ResidencyReport:
    """Return a report; with these modules, if they were made of it already."""
    if modules is None:
        found = [module_of(module) for module in message.modules]
        modules = tuple(status for status in found if status is not None)
    return ResidencyReport(
        unix_seconds=unix_seconds_of(message.time),
        modules=modules,
        budget_bytes=message.budget_bytes if message.HasField("budget_bytes") else None,
        home_bytes=message.home_bytes,
        applied_version=message.applied_version,
        accepted_version=message.accepted_version,
        pending_moves=tuple(
            PendingMove(module=ModuleName(move.module), tier=Tier(move.tier), reason=move.reason)
            for move in message.pending_moves
            if _is_tier(move.tier)
        ),
        sessions=message.sessions,
        queued_utterances=message.queued_utterances,
        process_bytes=message.process_bytes,
        released_bytes=message.released_bytes,
        epoch=message.epoch,
        holder_id=message.holder_id,
        restore_waits=message.restore_waits,
        restore_wait_seconds=_seconds(message.restore_wait_duration),
        usage=_usage_of(message.device) if message.HasField("device") else None,
        largest_step_bytes=message.largest_step_bytes,
    )


def report_message(report: ResidencyReport) -> residency_pb2.ResidencyReport:
    """Return the message of a report, as its service sent it."""
    return residency_pb2.ResidencyReport(
        time=timestamp(report.unix_seconds),
        modules=[_module_message(status) for status in report.modules],
        budget_bytes=report.budget_bytes,
        home_bytes=report.home_bytes,
        applied_version=report.applied_version,
        accepted_version=report.accepted_version,
        pending_moves=[
            residency_pb2.PendingMove(module=move.module, tier=_tier(move.tier), reason=move.reason)
            for move in report.pending_moves
        ],
        sessions=report.sessions,
        queued_utterances=report.queued_utterances,
        process_bytes=report.process_bytes,
        released_bytes=report.released_bytes,
        epoch=report.epoch,
        holder_id=report.holder_id,
        restore_waits=report.restore_waits,
        restore_wait_duration=duration(report.restore_wait_seconds),
        device=None if report.usage is None else _usage_message(report.usage),
        largest_step_bytes=report.largest_step_bytes,
    )


def trim_answer_of(number: int, message: residency_pb2.TrimMemoryResponse) -> TrimAnswer:
    """Return what a service's allocator gave back, and what it could not; nothing where it keeps nothing."""
    kind = residency_pb2.MEMORY_KIND_DEVICE_CACHE
    found = next((each for each in message.kinds if each.kind == kind), residency_pb2.TrimmedMemory())
    released_bytes = max(0, found.before_bytes - found.after_bytes)
    return TrimAnswer(
        number=number, released_bytes=released_bytes, left_bytes=found.after_bytes, obstacle=found.obstacle
    )


def hello_message(holder_id: str, display_name: str, *, takeover: bool) -> residency_pb2.GovernRequest:
    """Return the message that introduces this daemon."""
    hello = residency_pb2.Hello(holder_id=holder_id, takeover=takeover, display_name=display_name)
    return residency_pb2.GovernRequest(hello=hello)


def directive_message(epoch: int, directive: Directive) -> residency_pb2.GovernRequest:
    """Return the message of a directive under an epoch."""
    message = residency_pb2.Directive(
        epoch=epoch,
        version=directive.version,
        valid_for=duration(directive.valid_for_seconds),
        budget_bytes=directive.wish.budget_bytes,
        placements=_placement_messages(directive.wish.placements),
        reason=directive.reason,
    )
    return residency_pb2.GovernRequest(directive=message)


def timestamp(unix_seconds: float) -> Timestamp:
    """Return a moment's message, to the microsecond."""
    message = Timestamp()
    message.FromMicroseconds(round(unix_seconds * 1_000_000))
    return message


def duration(seconds: float) -> Duration:
    """Return a length of time's message, to the nanosecond."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1_000_000_000))
    return message


def _placement_messages(placements: Iterable[Placement]) -> list[residency_pb2.Placement]:
    return [
        residency_pb2.Placement(
            module=placement.module, tier=_tier(placement.tier), urgency=_URGENCY_NUMBERS[placement.urgency]
        )
        for placement in placements
    ]


def module_of(message: residency_pb2.ModuleStatus) -> ModuleStatus | None:
    """Return a module; None for one in a tier without a number."""
    if not (_is_tier(message.tier) and _is_tier(message.home)):
        return None
    return ModuleStatus(
        module=ModuleName(message.module),
        home=Tier(message.home),
        tier=Tier(message.tier),
        state=_STATES.get(message.state, ModuleState.UNKNOWN),
        held=tuple(
            TierBytes(tier=Tier(held.tier), size_bytes=held.bytes) for held in message.bytes if _is_tier(held.tier)
        ),
        home_bytes=message.home_bytes,
        leases=message.leases,
        claims=message.claims,
        uses=message.uses,
        last_use_unix_seconds=unix_seconds_of(message.last_use_time) if message.HasField("last_use_time") else None,
        restore_seconds=_seconds(message.restore_duration) if message.HasField("restore_duration") else None,
        evict_seconds=_seconds(message.evict_duration) if message.HasField("evict_duration") else None,
        authority=_AUTHORITIES.get(message.authority, Authority.UNKNOWN),
        restores=message.restores,
        evictions=message.evictions,
        pinned=message.pinned,
        rest=Tier(message.rest) if _is_tier(message.rest) else None,
    )


def _module_message(status: ModuleStatus) -> residency_pb2.ModuleStatus:
    last_use, restored, evicted = status.last_use_unix_seconds, status.restore_seconds, status.evict_seconds
    return residency_pb2.ModuleStatus(
        module=status.module,
        home=_tier(status.home),
        tier=_tier(status.tier),
        state=_STATE_NUMBERS.get(status.state, residency_pb2.MODULE_STATE_UNSPECIFIED),
        bytes=[residency_pb2.TierBytes(tier=_tier(held.tier), bytes=held.size_bytes) for held in status.held],
        home_bytes=status.home_bytes,
        leases=status.leases,
        claims=status.claims,
        uses=status.uses,
        last_use_time=None if last_use is None else timestamp(last_use),
        restore_duration=None if restored is None else duration(restored),
        evict_duration=None if evicted is None else duration(evicted),
        authority=_AUTHORITY_NUMBERS.get(status.authority, residency_pb2.AUTHORITY_UNSPECIFIED),
        restores=status.restores,
        evictions=status.evictions,
        pinned=status.pinned,
        rest=residency_pb2.TIER_UNSPECIFIED if status.rest is None else _tier(status.rest),
    )


def _usage_of(message: residency_pb2.DeviceUsage) -> DeviceUsage:
    values: dict[str, int | None] = {name: getattr(message, name) for name in _USAGE}
    told = {name: getattr(message, name) if message.HasField(name) else None for name in _USAGE_IF_TOLD}
    return DeviceUsage(**cast("dict[str, Any]", values | told))


def _usage_message(usage: DeviceUsage) -> residency_pb2.DeviceUsage:
    return residency_pb2.DeviceUsage(**{name: getattr(usage, name) for name in (*_USAGE, *_USAGE_IF_TOLD)})


def _is_tier(number: int) -> bool:
    return any(number == tier for tier in Tier)


def _tier(tier: Tier) -> residency_pb2.Tier.ValueType:
    return residency_pb2.Tier.Value(f"TIER_{tier.name}")


def unix_seconds_of(message: Timestamp) -> float:
    """Return a moment as seconds since 1970."""
    return message.seconds + message.nanos / 1e9


def _seconds(message: Duration) -> float:
    return message.seconds + message.nanos / 1e9
