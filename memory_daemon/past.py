"""What the daemon remembers to show: memory over the last minutes, and the newest decision about each module.

Pure. It begins with the daemon and is bounded; what is older stands in the journal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from memory_daemon.types import Decided, DeviceId, MemorySample, ModuleName, Sample, ServiceName

POINT_SECONDS = 1.0
PAST_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """`samples` oldest first, about one a second for each device; decisions by what they were about."""

    samples: tuple[MemorySample, ...] = ()
    moved: Mapping[tuple[ServiceName, ModuleName], Decided] = field(default_factory=dict)
    directed: Mapping[ServiceName, Decided] = field(default_factory=dict)
    newest: Decided | None = None


def follow(
    past: Past, samples: tuple[Sample, ...], decisions: tuple[Decided, ...], services: tuple[ServiceName, ...]
) -> Past:
    """Return the past with a tick added: readings, decisions (newest first), and the services that there are."""
    return _follow_decisions(replace(past, samples=_with_samples(past.samples, samples)), decisions, services)


def since(past: Past, seconds: float) -> tuple[MemorySample, ...]:
    """Return the samples of the last so many seconds."""
    if not past.samples:
        return ()
    begin_seconds = past.samples[-1].seconds - seconds
    return tuple(sample for sample in past.samples if sample.seconds >= begin_seconds)


def _with_samples(before: tuple[MemorySample, ...], samples: tuple[Sample, ...]) -> tuple[MemorySample, ...]:
    last: dict[DeviceId, float] = {sample.device: sample.seconds for sample in before[-64:]}
    fresh = tuple(
        sample
        for sample in samples
        if isinstance(sample, MemorySample)
        and (sample.device not in last or sample.seconds - last[sample.device] >= POINT_SECONDS)
    )
    if not fresh:
        return before
    begin_seconds = fresh[-1].seconds - PAST_SECONDS
    old = next((at for at, sample in enumerate(before) if sample.seconds >= begin_seconds), len(before))
    return (*before[old:], *fresh)


def _follow_decisions(past: Past, decisions: tuple[Decided, ...], services: tuple[ServiceName, ...]) -> Past:
    if not decisions or decisions[0] is past.newest:
        return past
    moved = {named: decided for named, decided in past.moved.items() if named[0] in services}
    directed = {name: decided for name, decided in past.directed.items() if name in services}
    for decided in reversed(decisions):
        if decided.service in services:
            moving = (*decided.evict, *decided.restore, *decided.to_disk, *decided.to_host)
            moved |= {(decided.service, module): decided for module in moving}
            # A trim is asked for beside directives.
            directed |= {} if decided.trim else {decided.service: decided}
    return replace(past, moved=moved, directed=directed, newest=decisions[0])
