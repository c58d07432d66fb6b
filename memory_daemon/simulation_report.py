"""A whole simulation: every device of a journal, every policy on trial, beside what really was. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from memory_daemon.journal_records import Entry, PolicyChanged, Started
from memory_daemon.marks import GPU_POLICY, HOST_POLICY, Marks, Policy, resolve
from memory_daemon.simulation import simulate
from memory_daemon.simulation_contenders import Governed, rivals
from memory_daemon.simulation_outcome import Outcome, recorded
from memory_daemon.simulation_trace import Trace, traces_of
from memory_daemon.types import HOST, DeviceId, ServiceName

IN_FORCE = "in force"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of every policy on one device; `marks` are those that time is counted against."""

    device: DeviceId
    total_bytes: int
    start_unix_seconds: float
    marks: Marks
    outcomes: tuple[Outcome, ...]


def policy_in_force(entries: Iterable[Entry]) -> Policy | None:
    """Return the policy that a journal ends with; None if it does not tell."""
    found = [entry.record.policy for entry in entries if isinstance(entry.record, Started | PolicyChanged)]
    return found[-1] if found else None


def floors_in_force(entries: Iterable[Entry]) -> Mapping[ServiceName, int]:
    """Return what services were to keep at home when a journal ends; nothing if it does not tell."""
    found: Mapping[ServiceName, int] = {}
    for entry in entries:
        match entry.record:
            case Started(floors_bytes=floors) if floors is not None:
                found = floors
            case _:
                pass
    return found


def tried(entries: list[Entry], policies: Mapping[str, Policy], *, with_rivals: bool) -> tuple[Trial, ...]:
    """Return what would have come of the policy in force, of each that is named, and of the rivals if wanted."""
    kept = policy_in_force(entries)
    return tuple(_tried(entries, trace, kept, policies, with_rivals=with_rivals) for trace in traces_of(entries))


def default_for(device: DeviceId) -> Policy:
    """Return the defaults where that device is watched."""
    return HOST_POLICY if device == HOST else GPU_POLICY


def _tried(
    entries: list[Entry], trace: Trace, kept: Policy | None, policies: Mapping[str, Policy], *, with_rivals: bool
) -> Trial:
    base = kept or default_for(trace.device)
    marks = resolve(base, trace.total_bytes)
    named = {IN_FORCE: base, **policies}
    contenders = [Governed(replace(policy, dry_run=False), name=name) for name, policy in named.items()]
    floors = floors_in_force(entries)
    outcomes = [simulate(trace, contender, marks, floors) for contender in contenders]
    outcomes += [simulate(trace, rival, marks, floors) for rival in rivals(base)] if with_rivals else []
    return Trial(
        device=trace.device,
        total_bytes=trace.total_bytes,
        start_unix_seconds=trace.start_unix_seconds,
        marks=marks,
        outcomes=(recorded(entries, trace.device, marks), *outcomes),
    )
