"""What the daemon says, message to value, and what it is asked, value to message.

Beside `residency_wire` and `link`, nothing in `memctl` knows a message.
"""

from itertools import zip_longest
from typing import Any, cast

from google.protobuf.field_mask_pb2 import FieldMask

from greenroom.memory.v1 import policy_pb2
from memctl.ledger_types import Ledger, PredictionTally
from memctl.residency_wire import report_of
from memctl.settings import BY_NAME, SETTINGS, Kind, Setting
from memctl.types import (
    ByteMark,
    Decision,
    DeviceMemory,
    Freeze,
    Mark,
    Marks,
    MemoryPoint,
    NumberChange,
    Override,
    OverrideKind,
    PercentMark,
    Policy,
    PolicyChange,
    PolicyInForce,
    Pressure,
    ServiceStatus,
    SettingValue,
    Status,
)
from memctl.wire_fields import duration_message, moment, named, span, unix_seconds


def policy_of(policy: policy_pb2.Policy) -> Policy:
    """Return the numbers of a policy; one that is not set is None."""
    values = {setting.name: _setting_value(policy, setting) for setting in SETTINGS}
    return Policy(values=values, etag=policy.etag, revision=policy.revision)


def policy_in_force_of(response: policy_pb2.GetPolicyResponse) -> PolicyInForce:
    """Return the policy, and who changed it last."""
    return PolicyInForce(
        policy=policy_of(response.policy),
        update_unix_seconds=moment(response, "update_time"),
        updated_by=response.updated_by,
        changes=tuple(_change(one) for one in response.changes),
    )


def number_change_of(number: policy_pb2.NumberChange) -> NumberChange:
    """Return a number of the policy that changed."""
    return NumberChange(name=number.name, before=number.before, after=number.after)


def policy_change(values: dict[str, SettingValue]) -> tuple[policy_pb2.Policy, FieldMask]:
    """Return the message and the mask that change exactly these numbers."""
    policy = policy_pb2.Policy()
    for name, value in values.items():
        _set_value(policy, BY_NAME[name], value)
    return policy, FieldMask(paths=list(values))


def status_of(response: policy_pb2.WatchStatusResponse) -> Status:
    """Return all that the daemon sees and does."""
    by_device = zip_longest(response.samples, response.pressures, response.marks)
    return Status(
        holder_id=response.holder_id,
        devices=tuple(_device(*one) for one in by_device if one[0] is not None),
        services=tuple(_service(service) for service in response.services),
        overrides=tuple(override_of(override) for override in response.overrides),
        decisions=tuple(decision_of(decision) for decision in response.decisions),
        policy=policy_of(response.policy),
        freeze=freeze_of(response.freeze) if response.HasField("freeze") else None,
        predictions=tuple(_tally(tally) for tally in response.predictions),
        ledgers=tuple(_ledger(ledger) for ledger in response.ledgers),
    )


def override_of(override: policy_pb2.Override) -> Override:
    """Return an operator's override."""
    return Override(
        service=override.service,
        module=override.module,
        kind=named(OverrideKind, policy_pb2.OverrideKind, override.kind),
        expire_unix_seconds=moment(override, "expire_time"),
        set_by=override.set_by,
    )


def override_message(service: str, module: str, kind: OverrideKind) -> policy_pb2.Override:
    """Return an override as the daemon takes it."""
    number = policy_pb2.OverrideKind.Value(f"OVERRIDE_KIND_{kind.name}")
    return policy_pb2.Override(service=service, module=module, kind=number)


def _change(change: policy_pb2.PolicyChange) -> PolicyChange:
    return PolicyChange(
        revision=change.revision,
        update_unix_seconds=moment(change, "update_time"),
        updated_by=change.updated_by,
        numbers=tuple(number_change_of(one) for one in change.numbers),
    )


def _setting_value(policy: policy_pb2.Policy, setting: Setting) -> SettingValue:
    match setting.kind:
        case Kind.MARK:
            return _mark(getattr(policy, setting.name))
        case Kind.DURATION:
            return span(policy, setting.name)
        case Kind.RATE | Kind.SIZE:
            return int(getattr(policy, setting.name)) if _is_told(policy, setting.name) else None
        case Kind.PERCENT:
            return float(getattr(policy, setting.name)) if _is_told(policy, setting.name) else None
        case Kind.SWITCH:
            return bool(getattr(policy, setting.name)) if _is_told(policy, setting.name) else None


def _is_told(policy: policy_pb2.Policy, name: str) -> bool:
    """Tell whether a number was sent; one without presence on the wire always is."""
    return not policy.DESCRIPTOR.fields_by_name[name].has_presence or policy.HasField(cast("Any", name))


def _set_value(policy: policy_pb2.Policy, setting: Setting, value: SettingValue) -> None:
    match value:
        case ByteMark(count):
            getattr(policy, setting.name).bytes = count
        case PercentMark(percent):
            getattr(policy, setting.name).percent = percent
        case float() if setting.kind is Kind.DURATION:
            getattr(policy, setting.name).CopyFrom(duration_message(value))
        case _:
            setattr(policy, setting.name, value)


def _tally(tally: policy_pb2.PredictionTally) -> PredictionTally:
    return PredictionTally(
        device=tally.device, ground=tally.ground, hits=tally.hits, misses=tally.misses, open=tuple(tally.open)
    )


def _ledger(ledger: policy_pb2.Ledger) -> Ledger:
    budgets = dict(sorted(ledger.budget_bytes.items()))
    return Ledger(device=ledger.device, budget_bytes=budgets, overdraft_bytes=ledger.overdraft_bytes)


def freeze_of(freeze: policy_pb2.Freeze) -> Freeze:
    """Return an operator's freeze."""
    return Freeze(
        start_unix_seconds=moment(freeze, "start_time"),
        expire_unix_seconds=moment(freeze, "expire_time"),
        set_by=freeze.set_by,
    )


def points_of(response: policy_pb2.WatchStatusResponse) -> tuple[MemoryPoint, ...]:
    """Return memory before a first status, oldest first."""
    return tuple(
        MemoryPoint(
            device=point.device,
            unix_seconds=unix_seconds(point.time),
            total_bytes=point.total_bytes,
            free_bytes=point.free_bytes,
        )
        for point in response.past
    )


def _mark(mark: policy_pb2.Mark) -> Mark | None:
    match mark.WhichOneof("mark"):
        case "bytes":
            return ByteMark(mark.bytes)
        case "percent":
            return PercentMark(mark.percent)
        case _:
            return None


def _device(sample: policy_pb2.Sample, pressure: int | None, marks: policy_pb2.Marks | None) -> DeviceMemory:
    return DeviceMemory(
        device=sample.device,
        unix_seconds=moment(sample, "time"),
        total_bytes=sample.total_bytes,
        free_bytes=sample.free_bytes,
        error=sample.error,
        pressure=named(Pressure, policy_pb2.Pressure, pressure or policy_pb2.PRESSURE_UNSPECIFIED),
        marks=None if marks is None else marks_of(marks),
    )


def marks_of(marks: policy_pb2.Marks) -> Marks:
    """Return the marks of one device."""
    return Marks(critical_bytes=marks.critical_bytes, low_bytes=marks.low_bytes, high_bytes=marks.high_bytes)


def _service(service: policy_pb2.ServiceStatus) -> ServiceStatus:
    return ServiceStatus(
        service=service.service,
        governed=service.governed,
        reason=service.reason,
        epoch=service.epoch,
        directive_version=service.directive_version,
        device=service.device,
        report=report_of(service.report) if service.HasField("report") else None,
    )


def decision_of(decision: policy_pb2.Decision) -> Decision:
    """Return what the daemon decided."""
    return Decision(
        unix_seconds=moment(decision, "time"),
        service=decision.service,
        version=decision.version,
        reason=decision.reason,
        evict=tuple(decision.evict),
        restore=tuple(decision.restore),
        device=decision.device,
        dry_run=decision.dry_run,
        trim=decision.trim,
        to_disk=tuple(decision.to_disk),
        to_host=tuple(decision.to_host),
    )
