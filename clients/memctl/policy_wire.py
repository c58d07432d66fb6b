"""What the daemon says, message to value, and what it is asked, value to message.

Beside `residency_wire` and `link`, nothing in `memctl` knows a message.
"""

from itertools import zip_longest

from google.protobuf.field_mask_pb2 import FieldMask

from greenroom.memory.v1 import policy_pb2
from memctl.residency_wire import report_of
from memctl.settings import BY_NAME, SETTINGS, Kind, Setting
from memctl.types import (
    ByteMark,
    Decision,
    DeviceMemory,
    Mark,
    Marks,
    Override,
    OverrideKind,
    PercentMark,
    Policy,
    PolicyInForce,
    Pressure,
    ServiceStatus,
    SettingValue,
    Status,
)
from memctl.wire_fields import duration_message, moment, named, span


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
    )


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
        decisions=tuple(_decision(decision) for decision in response.decisions),
        policy=policy_of(response.policy),
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


def _setting_value(policy: policy_pb2.Policy, setting: Setting) -> SettingValue:
    match setting.kind:
        case Kind.MARK:
            return _mark(getattr(policy, setting.name))
        case Kind.DURATION:
            return span(policy, setting.name)
        case Kind.RATE:
            return int(getattr(policy, setting.name))
        case Kind.SWITCH:
            return bool(getattr(policy, setting.name))


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
        marks=None if marks is None else _marks(marks),
    )


def _marks(marks: policy_pb2.Marks) -> Marks:
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


def _decision(decision: policy_pb2.Decision) -> Decision:
    return Decision(
        unix_seconds=moment(decision, "time"),
        service=decision.service,
        version=decision.version,
        reason=decision.reason,
        evict=tuple(decision.evict),
        restore=tuple(decision.restore),
    )
