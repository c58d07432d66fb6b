"""What operators ask, message to value, and what they are told, value to message."""

import math
from dataclasses import fields, replace
from typing import Any, cast

from google.protobuf.duration_pb2 import Duration

from greenroom.memory.v1 import policy_pb2
from memory_daemon.board import Status
from memory_daemon.errors import DaemonError, FieldViolation, bad_config
from memory_daemon.kept_policy import Change, KeptPolicy
from memory_daemon.ledger_messages import ledger_messages, tally_messages
from memory_daemon.link_view import LinkView
from memory_daemon.marks import Mark, Marks, Policy
from memory_daemon.residency_messages import duration, report_message, timestamp
from memory_daemon.types import (
    Decided,
    Freeze,
    MemorySample,
    ModuleName,
    Override,
    OverrideKind,
    Pressure,
    Sample,
    ServiceName,
)
from memory_daemon.usage import HostReading

WORDS_MAXIMUM = 256
"""Characters of a name that a client gives, for itself or for a module."""
TIME_TO_LIVE_SECONDS = (1.0, 30 * 86_400.0)
DEFAULT_SERVICE = "default"
ALL = "*"

_OUTPUT_ONLY = ("etag", "revision")
_KNOWN = {field.name for field in fields(Policy)}
_WIRE = {field.name: field for field in policy_pb2.Policy.DESCRIPTOR.fields}
_MARKS = tuple(name for name, one in _WIRE.items() if one.message_type is policy_pb2.Mark.DESCRIPTOR and name in _KNOWN)
_DURATIONS = tuple(
    name for name, one in _WIRE.items() if one.message_type is Duration.DESCRIPTOR and f"{name}_seconds" in _KNOWN
)
_SCALARS = tuple(name for name, one in _WIRE.items() if one.message_type is None and name in _KNOWN)
_OPTIONAL = tuple(name for name in _SCALARS if _WIRE[name].has_presence)
"""Plain numbers that can be left unset; then they go back to their configured value."""
_PLAIN = tuple(name for name in _SCALARS if not _WIRE[name].has_presence)
_FIELDS = (*_MARKS, *_DURATIONS, *_PLAIN, *_OPTIONAL)
"""Numbers of the policy by their kind on the wire; in our own names a length of time ends with its unit."""
_KINDS = {
    policy_pb2.OVERRIDE_KIND_PIN: OverrideKind.PIN,
    policy_pb2.OVERRIDE_KIND_HOLD: OverrideKind.HOLD,
    policy_pb2.OVERRIDE_KIND_EVICT: OverrideKind.EVICT,
}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_PRESSURES = {
    Pressure.ROOM: policy_pb2.PRESSURE_ROOM,
    Pressure.STEADY: policy_pb2.PRESSURE_STEADY,
    Pressure.LOW: policy_pb2.PRESSURE_LOW,
    Pressure.CRITICAL: policy_pb2.PRESSURE_CRITICAL,
    Pressure.UNKNOWN: policy_pb2.PRESSURE_UNKNOWN,
}


def change_of(request: policy_pb2.UpdatePolicyRequest, initial: Policy) -> Change:
    """Return the change that is asked for; a masked field that is not set goes back to its configured value.

    Raises DaemonError BAD_CONFIG for a mask that is empty or names what is no number of the policy.
    """
    values = masked_values(request.policy, list(request.update_mask.paths), initial, "update_mask")
    if len(request.requested_by) > WORDS_MAXIMUM:
        raise _bad("requested_by", f"must have at most {WORDS_MAXIMUM} characters")
    return Change(
        apply=lambda policy: replace(policy, **values),
        etag=request.etag,
        requested_by=request.requested_by,
        validate_only=request.validate_only,
    )


def masked_values(policy: policy_pb2.Policy, paths: list[str], initial: Policy, field: str) -> dict[str, Any]:
    """Return the numbers that a mask names, by the names of `Policy`; `field` is where the message has the mask."""
    return dict(_value(policy, name, initial) for name in _masked_fields(paths, field))


def override_of(request: policy_pb2.SetOverrideRequest, unix_seconds: float) -> Override:
    """Return the override that is asked for; raises DaemonError BAD_CONFIG."""
    kind = _KINDS.get(request.override.kind)
    if kind is None:
        raise _bad("override.kind", "must be pin, hold or evict")
    service, module = names_of(request.override.service, request.override.module, request.requested_by, "override.")
    ends = request.HasField("time_to_live")
    time_to_live_seconds = _span(request.time_to_live)
    least, most = TIME_TO_LIVE_SECONDS
    if ends and not least <= time_to_live_seconds <= most:
        raise _bad("time_to_live", f"must be {least:.0f} to {most:.0f} s, not {time_to_live_seconds:g} s")
    return Override(
        service=service,
        module=module,
        kind=kind,
        expire_unix_seconds=unix_seconds + time_to_live_seconds if ends else None,
        set_by=request.requested_by,
    )


def names_of(service: str, module: str, requested_by: str, path: str) -> tuple[ServiceName, ModuleName]:
    """Return service and module that an operator means; `path` is where the message has them."""
    if not module:
        raise _bad(f"{path}module", "must name a module")
    lengths = {f"{path}service": service, f"{path}module": module, "requested_by": requested_by}
    for field, words in lengths.items():
        if len(words) > WORDS_MAXIMUM:
            raise _bad(field, f"must have at most {WORDS_MAXIMUM} characters")
    return ServiceName(service or DEFAULT_SERVICE), ModuleName(module)


def policy_message(kept: KeptPolicy) -> policy_pb2.Policy:
    """Return the message of a policy."""
    policy = kept.policy
    spans = {name: duration(getattr(policy, f"{name}_seconds")) for name in _DURATIONS}
    marks = {name: _mark_message(getattr(policy, name)) for name in _MARKS}
    numbers: dict[str, Any] = {name: getattr(policy, name) for name in _SCALARS} | spans | marks
    return policy_pb2.Policy(**numbers, etag=kept.etag, revision=kept.revision)


def policy_in_force_message(kept: KeptPolicy) -> policy_pb2.GetPolicyResponse:
    """Return the message of a policy and of who changed it; no time for one that came from the configuration."""
    changed = kept.update_unix_seconds
    return policy_pb2.GetPolicyResponse(
        policy=policy_message(kept),
        update_time=None if changed is None else timestamp(changed),
        updated_by=kept.updated_by,
    )


def status_message(status: Status) -> policy_pb2.WatchStatusResponse:
    """Return the message of all that the daemon sees and does."""
    return policy_pb2.WatchStatusResponse(
        samples=[_sample_message(device.sample) for device in status.devices],
        pressures=[_PRESSURES[device.pressure] for device in status.devices],
        services=[_service_message(view) for view in status.services],
        overrides=[override_message(override) for override in status.overrides],
        decisions=[decision_message(decided) for decided in status.decisions],
        policy=policy_message(status.kept),
        marks=[marks_message(device.marks) for device in status.devices],
        holder_id=status.holder_id,
        predictions=tally_messages(status.devices),
        ledgers=ledger_messages(status.devices),
        freeze=freeze_message(status.freeze),
        host=host_message(status.host, short=status.host_short),
    )


def marks_message(marks: Marks | None) -> policy_pb2.Marks:
    """Return the message of the marks in bytes; zeros where memory cannot be read."""
    known = marks or Marks(critical_bytes=0, low_bytes=0, high_bytes=0)
    return policy_pb2.Marks(critical_bytes=known.critical_bytes, low_bytes=known.low_bytes, high_bytes=known.high_bytes)


def override_message(override: Override) -> policy_pb2.Override:
    """Return the message of an override."""
    expires = override.expire_unix_seconds
    return policy_pb2.Override(
        service=override.service,
        module=override.module,
        kind=_KIND_NUMBERS[override.kind],
        expire_time=None if expires is None else timestamp(expires),
        set_by=override.set_by,
    )


def host_message(reading: HostReading | None, *, short: bool) -> policy_pb2.HostMemory | None:
    """Return the message of host memory beside a GPU; None where it is not read."""
    if reading is None:
        return None
    return policy_pb2.HostMemory(
        time=timestamp(reading.unix_seconds),
        total_bytes=reading.total_bytes,
        free_bytes=reading.free_bytes,
        some_percent=reading.some_percent,
        full_percent=reading.full_percent,
        short=short,
    )


def freeze_message(freeze: Freeze | None) -> policy_pb2.Freeze | None:
    """Return the message of a freeze; None for none."""
    if freeze is None:
        return None
    expires = freeze.expire_unix_seconds
    return policy_pb2.Freeze(
        start_time=timestamp(freeze.start_unix_seconds),
        expire_time=None if expires is None else timestamp(expires),
        set_by=freeze.set_by,
    )


def _masked_fields(paths: list[str], field: str) -> tuple[str, ...]:
    if not paths:
        raise _bad(field, 'must name the fields to change, such as "low", or "*" for all')
    unknown = [path for path in paths if path not in (*_FIELDS, ALL)]
    if unknown:
        raise bad_config(tuple(FieldViolation(field=field, description=_unknown(path)) for path in unknown))
    return _FIELDS if ALL in paths else tuple(dict.fromkeys(paths))


def _unknown(path: str) -> str:
    if path in _OUTPUT_ONLY:
        return f"{path!r} is set by the daemon"
    head = path.partition(".")[0]
    hint = f"; a field is changed as a whole: {head!r}" if head in _FIELDS and head != path else ""
    return f"{path[:80]!r} is no field that can be changed{hint}"


def _value(policy: policy_pb2.Policy, field: str, initial: Policy) -> tuple[str, object]:
    """Return the name of a number of the policy, and its new value."""
    if field in _PLAIN:
        return field, getattr(policy, field)
    name = field if field in (*_MARKS, *_OPTIONAL) else f"{field}_seconds"
    if not policy.HasField(cast("Any", field)):
        return name, getattr(initial, name)
    if field in _OPTIONAL:
        return name, getattr(policy, field)
    return name, _mark_of(getattr(policy, field), field) if field in _MARKS else _span(getattr(policy, field))


def _mark_of(message: policy_pb2.Mark, field: str) -> Mark:
    match message.WhichOneof("mark"):
        case "bytes":
            return Mark(size_bytes=message.bytes)
        case "percent" if not math.isnan(message.percent):
            return Mark(percent=message.percent)
        case _:
            raise _bad(field, "must be bytes, or percent of the total")


def _span(message: Duration) -> float:
    return message.seconds + message.nanos / 1e9


def _mark_message(mark: Mark) -> policy_pb2.Mark:
    if mark.size_bytes is not None:
        return policy_pb2.Mark(bytes=mark.size_bytes)
    assert mark.percent is not None
    return policy_pb2.Mark(percent=mark.percent)


def _sample_message(sample: Sample) -> policy_pb2.Sample:
    if isinstance(sample, MemorySample):
        return policy_pb2.Sample(
            time=timestamp(sample.unix_seconds),
            device=sample.device,
            total_bytes=sample.total_bytes,
            free_bytes=sample.free_bytes,
        )
    return policy_pb2.Sample(
        time=timestamp(sample.unix_seconds), device=sample.device, error=sample.reason, fault=sample.fault.value
    )


def _service_message(view: LinkView) -> policy_pb2.ServiceStatus:
    return policy_pb2.ServiceStatus(
        service=view.service,
        governed=view.governed,
        reason=view.reason,
        epoch=view.epoch,
        report=None if view.report is None else report_message(view.report),
        directive_version=view.directive_version,
        device=view.device.device,
        service_instance_id=view.instance_id,
    )


def decision_message(decided: Decided) -> policy_pb2.Decision:
    """Return the message of a decision."""
    return policy_pb2.Decision(
        time=timestamp(decided.unix_seconds),
        service=decided.service,
        version=decided.version,
        reason=decided.reason,
        evict=decided.evict,
        restore=decided.restore,
        device=decided.device,
        dry_run=decided.dry_run,
        trim=decided.trim,
        to_disk=decided.to_disk,
        to_host=decided.to_host,
    )


def _bad(field: str, description: str) -> DaemonError:
    return bad_config((FieldViolation(field=field, description=description),))
