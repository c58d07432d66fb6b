"""What operators ask of the past and of reasons, message to value, and what they are told, value to message."""

from google.protobuf.duration_pb2 import Duration

from greenroom.memory.v1 import policy_pb2, residency_pb2
from memory_daemon.admin_messages import (
    TIME_TO_LIVE_SECONDS,
    WORDS_MAXIMUM,
    decision_message,
    policy_message,
)
from memory_daemon.errors import DaemonError, FieldViolation, bad_config
from memory_daemon.explanations import Cause, DirectiveExplanation, ModuleExplanation
from memory_daemon.history import Kind, Question, Told
from memory_daemon.kept_policy import KeptPolicy, Step, Undo, steps
from memory_daemon.marks import changes
from memory_daemon.past import PAST_SECONDS
from memory_daemon.residency_messages import timestamp
from memory_daemon.types import Freeze, MemorySample, Tier

EVENTS_DEFAULT = 50
EVENTS_MAXIMUM = 1_000

_CAUSES = {
    Cause.NOBODY: policy_pb2.PLACEMENT_CAUSE_UNSPECIFIED,
    Cause.POLICY: policy_pb2.PLACEMENT_CAUSE_POLICY,
    Cause.OVERRIDE: policy_pb2.PLACEMENT_CAUSE_OVERRIDE,
}
_TIERS = {
    Tier.DEVICE: residency_pb2.TIER_DEVICE,
    Tier.HOST: residency_pb2.TIER_HOST,
    Tier.DISK: residency_pb2.TIER_DISK,
    None: residency_pb2.TIER_UNSPECIFIED,
}
_KINDS = {
    Kind.POLICY: policy_pb2.HISTORY_KIND_POLICY,
    Kind.OVERRIDE: policy_pb2.HISTORY_KIND_OVERRIDE,
    Kind.FREEZE: policy_pb2.HISTORY_KIND_FREEZE,
    Kind.DECISION: policy_pb2.HISTORY_KIND_DECISION,
    Kind.DIRECTIVE: policy_pb2.HISTORY_KIND_DIRECTIVE,
    Kind.SERVICE: policy_pb2.HISTORY_KIND_SERVICE,
    Kind.DEVICE: policy_pb2.HISTORY_KIND_DEVICE,
    Kind.DAEMON: policy_pb2.HISTORY_KIND_DAEMON,
}
_KINDS_BY_NUMBER = {number: kind for kind, number in _KINDS.items()}


def undo_of(request: policy_pb2.UndoPolicyRequest) -> Undo:
    """Return the changes that are to be taken back; raises DaemonError BAD_CONFIG."""
    _check_words("requested_by", request.requested_by)
    return Undo(
        revision=request.revision if request.HasField("revision") else None,
        etag=request.etag,
        requested_by=request.requested_by,
        validate_only=request.validate_only,
    )


def undo_message(before: KeptPolicy, after: KeptPolicy) -> policy_pb2.UndoPolicyResponse:
    """Return the message of what became of it."""
    numbers = number_messages(changes(before.policy, after.policy))
    return policy_pb2.UndoPolicyResponse(policy=policy_message(after), numbers=numbers)


def change_messages(kept: KeptPolicy) -> list[policy_pb2.PolicyChange]:
    """Return the messages of the changes that can be taken back, newest first."""
    return [_change_message(step) for step in steps(kept)]


def freeze_of(request: policy_pb2.SetFreezeRequest, unix_seconds: float) -> Freeze:
    """Return the freeze that is asked for; raises DaemonError BAD_CONFIG."""
    _check_words("requested_by", request.requested_by)
    ends = request.HasField("time_to_live")
    time_to_live_seconds = _span(request.time_to_live)
    least, most = TIME_TO_LIVE_SECONDS
    if ends and not least <= time_to_live_seconds <= most:
        raise _bad("time_to_live", f"must be {least:.0f} to {most:.0f} s, not {time_to_live_seconds:g} s")
    return Freeze(
        start_unix_seconds=unix_seconds,
        expire_unix_seconds=unix_seconds + time_to_live_seconds if ends else None,
        set_by=request.requested_by,
    )


def past_seconds_of(request: policy_pb2.WatchStatusRequest) -> float:
    """Return how far back is to be told; raises DaemonError BAD_CONFIG."""
    seconds = _span(request.past)
    if not 0 <= seconds <= PAST_SECONDS:
        raise _bad("past", f"must be 0 to {PAST_SECONDS:g} s, not {seconds:g} s")
    return seconds


def point_messages(samples: tuple[MemorySample, ...]) -> list[policy_pb2.MemoryPoint]:
    """Return the messages of memory over time."""
    return [
        policy_pb2.MemoryPoint(
            time=timestamp(sample.unix_seconds),
            device=sample.device,
            total_bytes=sample.total_bytes,
            free_bytes=sample.free_bytes,
        )
        for sample in samples
    ]


def explanation_message(
    modules: list[ModuleExplanation], directive: DirectiveExplanation
) -> policy_pb2.ExplainPlacementResponse:
    """Return the message of why things are as they are."""
    return policy_pb2.ExplainPlacementResponse(
        modules=[_module_message(one) for one in modules],
        directive=policy_pb2.DirectiveExplanation(
            decision=None if directive.decided is None else decision_message(directive.decided),
            sentences=directive.sentences,
        ),
    )


def question_of(request: policy_pb2.GetHistoryRequest) -> Question:
    """Return what is asked of history; raises DaemonError BAD_CONFIG."""
    if not 0 <= request.max_events <= EVENTS_MAXIMUM:
        raise _bad("max_events", f"must be 1 to {EVENTS_MAXIMUM}, not {request.max_events}")
    unknown = [number for number in request.kinds if number not in _KINDS_BY_NUMBER]
    if unknown:
        raise _bad("kinds", f"must be kinds of history, not {unknown[0]}")
    for field in ("service", "module"):
        _check_words(field, getattr(request, field))
    starts = request.HasField("start_time")
    return Question(
        events_maximum=request.max_events or EVENTS_DEFAULT,
        kinds=frozenset(_KINDS_BY_NUMBER[number] for number in request.kinds),
        service=request.service,
        module=request.module,
        start_unix_seconds=request.start_time.seconds + request.start_time.nanos / 1e9 if starts else None,
    )


def history_message(events: tuple[Told, ...], *, truncated: bool) -> policy_pb2.GetHistoryResponse:
    """Return the message of what happened."""
    return policy_pb2.GetHistoryResponse(events=[_event_message(one) for one in events], truncated=truncated)


def number_messages(numbers: dict[str, tuple[str, str]]) -> list[policy_pb2.NumberChange]:
    """Return the messages of numbers that changed."""
    return [policy_pb2.NumberChange(name=name, before=before, after=after) for name, (before, after) in numbers.items()]


def _change_message(step: Step) -> policy_pb2.PolicyChange:
    return policy_pb2.PolicyChange(
        revision=step.revision,
        update_time=None if step.update_unix_seconds is None else timestamp(step.update_unix_seconds),
        updated_by=step.updated_by,
        numbers=number_messages(step.numbers),
    )


def _module_message(one: ModuleExplanation) -> policy_pb2.PlacementExplanation:
    return policy_pb2.PlacementExplanation(
        module=one.status.module,
        tier=_TIERS[one.status.tier],
        home=_TIERS[one.status.home],
        wanted=_TIERS[one.wanted],
        cause=_CAUSES[one.cause],
        decision=None if one.decided is None else decision_message(one.decided),
        sentences=one.sentences,
    )


def _event_message(told: Told) -> policy_pb2.HistoryEvent:
    return policy_pb2.HistoryEvent(
        time=timestamp(told.unix_seconds),
        kind=_KINDS[told.kind],
        words=told.words,
        requested_by=told.requested_by,
        service=told.service,
        device=told.device,
        evict=told.evict,
        restore=told.restore,
        numbers=number_messages(told.numbers),
        version=told.version,
        dry_run=told.dry_run,
    )


def _check_words(field: str, words: str) -> None:
    if len(words) > WORDS_MAXIMUM:
        raise _bad(field, f"must have at most {WORDS_MAXIMUM} characters")


def _span(message: Duration) -> float:
    return message.seconds + message.nanos / 1e9


def _bad(field: str, description: str) -> DaemonError:
    return bad_config((FieldViolation(field=field, description=description),))
