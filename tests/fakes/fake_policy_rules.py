"""The rules that `policy.proto` states, for the fake daemon: what is refused, with which reason and field."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from greenroom.memory.v1 import policy_pb2

OUTPUT_ONLY = {"etag", "revision"}
CHANGEABLE = {one.name for one in policy_pb2.Policy.DESCRIPTOR.fields} - OUTPUT_ONLY
RANGES_SECONDS = {
    "grace": (0, 600),
    "cool_down": (0, 600),
    "minimum_residence": (0, 3_600),
    "minimum_absence": (0, 3_600),
    "minimum_period": (0.01, 60),
    "valid_for": (2, 600),
}
MARKS = ("critical", "low", "high")
TIME_TO_LIVE_SECONDS = (1, 30 * 86_400)


@dataclass(kw_only=True, eq=False)
class Refusal(Exception):  # noqa: N818  A refusal is an answer, not an error.
    """An answer with a reason, as the real side sends it. Not frozen: raising writes its traceback."""

    code: int
    reason: str
    message: str
    fields: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    retry_seconds: float | None = None

    def status(self) -> grpc.Status:
        """Return the gRPC status with its details."""
        details = [error_details_pb2.ErrorInfo(reason=self.reason, domain="greenroom", metadata=self.metadata)]
        if self.fields:
            violations = [
                error_details_pb2.BadRequest.FieldViolation(field=name, description=words)
                for name, words in self.fields.items()
            ]
            details.append(error_details_pb2.BadRequest(field_violations=violations))
        if self.retry_seconds is not None:
            details.append(error_details_pb2.RetryInfo(retry_delay=duration(self.retry_seconds)))
        status = status_pb2.Status(code=self.code, message=self.message, details=list(map(_packed, details)))
        return rpc_status.to_status(status)


def bad_config(fields: dict[str, str]) -> Refusal:
    """Return the refusal of fields at fault."""
    words = "; ".join(f"{name}: {what}" for name, what in fields.items())
    return Refusal(code=code_pb2.INVALID_ARGUMENT, reason="BAD_CONFIG", message=words, fields=fields)


def module_not_found(module: str) -> Refusal:
    """Return the refusal of a module that is not there."""
    return Refusal(code=code_pb2.NOT_FOUND, reason="MODULE_NOT_FOUND", message=f"there is no module {module!r}")


def merged(policy: policy_pb2.Policy, request: policy_pb2.UpdatePolicyRequest) -> policy_pb2.Policy:
    """Return the policy with the masked fields changed; Refusal for a mask that names nothing or what cannot change."""
    if not request.HasField("policy") or not request.update_mask.paths:
        raise bad_config({"update_mask": "required, with the policy"})
    paths = sorted(CHANGEABLE) if list(request.update_mask.paths) == ["*"] else list(request.update_mask.paths)
    unknown = [path for path in paths if path not in CHANGEABLE]
    if unknown:
        raise bad_config({"update_mask": f"no such field: {', '.join(unknown)}"})
    result = policy_pb2.Policy()
    result.CopyFrom(policy)
    for path in paths:
        result.ClearField(path)
        one = policy_pb2.Policy.DESCRIPTOR.fields_by_name[path]
        if one.message_type is None:
            setattr(result, path, getattr(request.policy, path))
        elif request.policy.HasField(path):
            getattr(result, path).CopyFrom(getattr(request.policy, path))
    return result


def check_policy(policy: policy_pb2.Policy, total_bytes: int) -> None:
    """Refuse a policy that contradicts itself or leaves a range, with every field at fault."""
    faults = dict([*_bad_ranges(policy), *_bad_marks(policy, total_bytes), *_bad_pairs(policy)])
    if faults:
        raise bad_config(faults)


def check_override(request: policy_pb2.SetOverrideRequest) -> None:
    """Refuse a wish without a module or a kind, or with a time to live out of range."""
    faults = {}
    if not request.override.module:
        faults["override.module"] = "required"
    if request.override.kind not in policy_pb2.OverrideKind.values() or not request.override.kind:
        faults["override.kind"] = "required: pin, hold or evict"
    least, most = TIME_TO_LIVE_SECONDS
    if request.HasField("time_to_live") and not least <= seconds(request.time_to_live) <= most:
        faults["time_to_live"] = f"must be {least} s to 30 days, not {seconds(request.time_to_live):g} s"
    if faults:
        raise bad_config(faults)


def mark_bytes(mark: policy_pb2.Mark, total_bytes: int) -> int:
    """Return a mark in bytes on a device of that size."""
    return int(mark.percent * total_bytes / 100) if mark.WhichOneof("mark") == "percent" else mark.bytes


def seconds(length: Duration) -> float:
    """Return a length of time in seconds."""
    return float(length.ToNanoseconds() / 1e9)


def duration(length_seconds: float) -> Duration:
    """Return a length of time as a message."""
    message = Duration()
    message.FromNanoseconds(round(length_seconds * 1e9))
    return message


def timestamp(unix_seconds: float) -> Timestamp:
    """Return a moment as a message."""
    message = Timestamp()
    message.FromNanoseconds(round(unix_seconds * 1e9))
    return message


@contextmanager
def answering(context: grpc.ServicerContext) -> Iterator[None]:
    """Turn a refusal into the status that it is."""
    try:
        yield
    except Refusal as refusal:
        context.abort_with_status(refusal.status())


def _bad_ranges(policy: policy_pb2.Policy) -> Iterable[tuple[str, str]]:
    for name, (least, most) in RANGES_SECONDS.items():
        if not least <= seconds(getattr(policy, name)) <= most:
            yield name, f"must be {least:g} to {most:g} s, not {seconds(getattr(policy, name)):g} s"
    if policy.worst_fill_bytes_per_second <= 0:
        yield "worst_fill_bytes_per_second", "must be more than 0"


def _bad_marks(policy: policy_pb2.Policy, total_bytes: int) -> Iterable[tuple[str, str]]:
    for name in MARKS:
        mark = getattr(policy, name)
        kind = mark.WhichOneof("mark")
        if kind is None or mark.bytes < 0 or not 0 <= mark.percent <= 100:
            yield name, "must be 0 bytes or more, or 0 to 100 percent"
    levels = [mark_bytes(getattr(policy, name), total_bytes) for name in MARKS]
    for position, (lower, upper) in enumerate(pairwise(MARKS)):
        if levels[position + 1] < levels[position]:
            yield upper, f"must be at least {lower}"


def _bad_pairs(policy: policy_pb2.Policy) -> Iterable[tuple[str, str]]:
    if not seconds(policy.minimum_period) <= seconds(policy.maximum_period) <= 60:
        yield "maximum_period", "must be at least minimum_period, and at most 60 s"
    if seconds(policy.renewal) * 2 >= seconds(policy.valid_for):
        yield "renewal", "must be less than half of valid_for"


def _packed(detail: Message) -> Any:
    packed = Any()
    packed.Pack(detail)
    return packed
