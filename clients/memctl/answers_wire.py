"""What the daemon says of reasons and of the past, message to value, and what it is asked, value to message."""

from greenroom.memory.v1 import policy_pb2
from memctl.operator_types import (
    Cause,
    Explanation,
    History,
    HistoryEvent,
    HistoryKind,
    HistoryQuestion,
    ModuleExplanation,
    UndoAnswer,
)
from memctl.policy_wire import decision_of, number_change_of, policy_of
from memctl.residency_wire import tier_of
from memctl.wire_fields import moment, named, timestamp_message


def undo_of(response: policy_pb2.UndoPolicyResponse) -> UndoAnswer:
    """Return what became of taking changes back."""
    return UndoAnswer(
        policy=policy_of(response.policy), numbers=tuple(number_change_of(one) for one in response.numbers)
    )


def explanation_of(response: policy_pb2.ExplainPlacementResponse) -> Explanation:
    """Return why things are as they are."""
    directive = response.directive
    return Explanation(
        modules=tuple(_module(one) for one in response.modules),
        decision=decision_of(directive.decision) if directive.HasField("decision") else None,
        sentences=tuple(directive.sentences),
    )


def history_request(question: HistoryQuestion) -> policy_pb2.GetHistoryRequest:
    """Return the message of what is asked of history."""
    begin = question.start_unix_seconds
    return policy_pb2.GetHistoryRequest(
        max_events=question.events_maximum,
        kinds=[policy_pb2.HistoryKind.Value(f"HISTORY_KIND_{kind.name}") for kind in question.kinds],
        service=question.service,
        module=question.module,
        start_time=None if begin is None else timestamp_message(begin),
    )


def history_of(response: policy_pb2.GetHistoryResponse) -> History:
    """Return what happened."""
    return History(events=tuple(_event(one) for one in response.events), truncated=response.truncated)


def _module(one: policy_pb2.PlacementExplanation) -> ModuleExplanation:
    return ModuleExplanation(
        module=one.module,
        tier=tier_of(one.tier),
        home=tier_of(one.home),
        wanted=tier_of(one.wanted),
        cause=_cause(one.cause),
        decision=decision_of(one.decision) if one.HasField("decision") else None,
        sentences=tuple(one.sentences),
    )


def _cause(number: int) -> Cause:
    if number == policy_pb2.PLACEMENT_CAUSE_UNSPECIFIED:
        return Cause.NOBODY
    return named(Cause, policy_pb2.PlacementCause, number)


def _event(event: policy_pb2.HistoryEvent) -> HistoryEvent:
    return HistoryEvent(
        unix_seconds=moment(event, "time") or 0.0,
        kind=named(HistoryKind, policy_pb2.HistoryKind, event.kind),
        words=event.words,
        requested_by=event.requested_by,
        service=event.service,
        device=event.device,
        evict=tuple(event.evict),
        restore=tuple(event.restore),
        numbers=tuple(number_change_of(one) for one in event.numbers),
        version=event.version,
        dry_run=event.dry_run,
    )
