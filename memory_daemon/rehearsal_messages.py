"""What operators want tried, message to policies, and what came of it, document to message."""

import re
from dataclasses import replace
from typing import Any

from greenroom.memory.v1 import policy_pb2
from memory_daemon.admin_messages import marks_message, masked_values
from memory_daemon.config import ConfigError, initial_policy
from memory_daemon.errors import DaemonError, FieldViolation, bad_config
from memory_daemon.marks import Marks, Policy, violations
from memory_daemon.profile_files import profile_numbers
from memory_daemon.residency_messages import duration, timestamp

CANDIDATES_MAXIMUM = 8
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_COUNTS = (
    "busiest_minute_moves",
    "requests",
    "waits",
    "refused_requests",
    "denials",
    "directives",
    "trims",
    "predictions",
    "prediction_hits",
    "shifts",
)
_SPANS = {
    "duration": "seconds",
    "below_critical": "below_critical_seconds",
    "below_low": "below_low_seconds",
    "below_high": "below_high_seconds",
    "wait_duration": "wait_seconds",
    "longest_wait": "longest_wait_seconds",
    "denied_duration": "denied_seconds",
}


def candidates_of(config: policy_pb2.SimulationConfig, in_force: Policy) -> dict[str, Policy]:
    """Return the policies that are to be tried; raises DaemonError BAD_CONFIG with the field that is wrong."""
    if len(config.candidates) > CANDIDATES_MAXIMUM:
        raise _bad("config.candidates", f"must be {CANDIDATES_MAXIMUM} at most")
    found: dict[str, Policy] = {}
    for place, candidate in enumerate(config.candidates):
        path = f"config.candidates[{place}]"
        if not _NAME.fullmatch(candidate.name) or candidate.name in found:
            raise _bad(f"{path}.name", "must be 1 to 64 letters, digits, '-' or '_', each name once")
        found[candidate.name] = _policy_of(candidate, path, in_force)
    return found


def response_of(told: dict[str, Any]) -> policy_pb2.SimulatePolicyResponse:
    """Return the message of a simulation's document."""
    return policy_pb2.SimulatePolicyResponse(
        trials=[_trial(one) for one in told["devices"]], unreadable_lines=told["unreadable"]
    )


def _policy_of(candidate: policy_pb2.Candidate, path: str, in_force: Policy) -> Policy:
    policy = _base(candidate, path, in_force)
    if candidate.policy_mask.paths:
        mask = f"{path}.policy_mask"
        policy = replace(policy, **masked_values(candidate.policy, list(candidate.policy_mask.paths), policy, mask))
    wrong = violations(policy, ())
    if wrong:
        raise bad_config(
            tuple(replace(one, field=f"{path}.policy.{one.field}") for one in wrong),
        )
    return policy


def _base(candidate: policy_pb2.Candidate, path: str, in_force: Policy) -> Policy:
    if not candidate.profile:
        return in_force
    try:
        return initial_policy(profile_numbers(candidate.profile), in_force)
    except ConfigError as error:
        raise _bad(f"{path}.profile", str(error)) from error


def _trial(told: dict[str, Any]) -> policy_pb2.Trial:
    return policy_pb2.Trial(
        device=told["device"],
        total_bytes=told["total_bytes"],
        start_time=timestamp(told["start_unix_seconds"]),
        marks=marks_message(Marks(**told["marks"])),
        outcomes=[_outcome(one) for one in told["outcomes"]],
    )


def _outcome(told: dict[str, Any]) -> policy_pb2.Outcome:
    numbers: dict[str, Any] = {name: told[name] for name in _COUNTS} | told["moves"]
    spans = {name: duration(told[source]) for name, source in _SPANS.items()}
    points = [
        policy_pb2.OutcomePoint(
            time=duration(one["seconds"]), free_bytes=one["free_bytes"], held_bytes=one["held_bytes"]
        )
        for one in told["points"]
    ]
    return policy_pb2.Outcome(name=told["name"], points=points, **(numbers | spans))


def _bad(field: str, description: str) -> DaemonError:
    return bad_config((FieldViolation(field=field, description=description),))
