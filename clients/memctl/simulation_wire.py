"""A simulation by the daemon: what is to be tried, value to message, and what came of it, message to value."""

from google.protobuf.field_mask_pb2 import FieldMask

from greenroom.memory.v1 import policy_pb2
from memctl.operator_types import Trying
from memctl.policy_wire import marks_of, policy_change
from memctl.simulation_types import Outcome, Point, Trial
from memctl.wire_fields import moment, seconds


def simulation_request(tried: tuple[Trying, ...], *, rivals: bool) -> policy_pb2.SimulatePolicyRequest:
    """Return the message of what is to be tried on the daemon's own journal."""
    candidates = [_candidate(one) for one in tried]
    return policy_pb2.SimulatePolicyRequest(config=policy_pb2.SimulationConfig(candidates=candidates, rivals=rivals))


def trials_of(response: policy_pb2.SimulatePolicyResponse) -> tuple[Trial, ...]:
    """Return what came of every policy on each device."""
    return tuple(_trial(one) for one in response.trials)


def _candidate(tried: Trying) -> policy_pb2.Candidate:
    policy, mask = policy_change(tried.values)
    candidate = policy_pb2.Candidate(name=tried.name, profile=tried.profile)
    if tried.values:
        candidate.policy.CopyFrom(policy)
        candidate.policy_mask.CopyFrom(FieldMask(paths=mask.paths))
    return candidate


def _trial(trial: policy_pb2.Trial) -> Trial:
    return Trial(
        device=trial.device,
        total_bytes=trial.total_bytes,
        start_unix_seconds=moment(trial, "start_time") or 0.0,
        marks=marks_of(trial.marks),
        outcomes=tuple(_outcome(one) for one in trial.outcomes),
    )


def _outcome(outcome: policy_pb2.Outcome) -> Outcome:
    return Outcome(
        name=outcome.name,
        seconds=seconds(outcome.duration),
        below_critical_seconds=seconds(outcome.below_critical),
        below_low_seconds=seconds(outcome.below_low),
        below_high_seconds=seconds(outcome.below_high),
        sent_away=outcome.sent_away,
        called_home=outcome.called_home,
        brought_home=outcome.brought_home,
        pushed_out=outcome.pushed_out,
        busiest_minute_moves=outcome.busiest_minute_moves,
        requests=outcome.requests,
        waits=outcome.waits,
        wait_seconds=seconds(outcome.wait_duration),
        longest_wait_seconds=seconds(outcome.longest_wait),
        refused_requests=outcome.refused_requests,
        denials=outcome.denials,
        denied_seconds=seconds(outcome.denied_duration),
        directives=outcome.directives,
        predictions=outcome.predictions,
        prediction_hits=outcome.prediction_hits,
        trims=outcome.trims,
        shifts=outcome.shifts,
        points=tuple(
            Point(seconds=seconds(point.time), free_bytes=point.free_bytes, held_bytes=point.held_bytes)
            for point in outcome.points
        ),
    )
