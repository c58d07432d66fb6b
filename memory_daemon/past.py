"""What the daemon remembers to show: memory over the last minutes, and the newest decision about each module.

Pure. It begins with the daemon and is bounded; what is older stands in the journal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from memory_daemon.types import Decided, MemorySample, ModuleName, Sample, ServiceName

POINT_SECONDS = 1.0
PAST_SECONDS = 900.0
BLOCK_SAMPLES = 64
"""Samples are kept in blocks, so that one more does not take a copy of them all; as many devices are told apart."""

Blocks = tuple[tuple[MemorySample, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """Samples in `blocks`, about one a second for each device; decisions by what they were about."""

    blocks: Blocks = ()
    moved: Mapping[tuple[ServiceName, ModuleName], Decided] = field(default_factory=dict)
    directed: Mapping[ServiceName, Decided] = field(default_factory=dict)
    newest: Decided | None = None

    @property
    def samples(self) -> tuple[MemorySample, ...]:
        """All that is remembered, oldest first."""
        return since(self, PAST_SECONDS)


def follow(
    past: Past, samples: tuple[Sample, ...], decisions: tuple[Decided, ...], services: tuple[ServiceName, ...]
) -> Past:
    """Return the past with a tick added: readings, decisions (newest first), and the services that there are."""
    return _follow_decisions(replace(past, blocks=_with_samples(past.blocks, samples)), decisions, services)


def since(past: Past, seconds: float) -> tuple[MemorySample, ...]:
    """Return the samples of the last so many seconds."""
    if not past.blocks:
        return ()
    begin_seconds = past.blocks[-1][-1].seconds - seconds
    return tuple(sample for sample in chain.from_iterable(past.blocks) if sample.seconds >= begin_seconds)


def _with_samples(before: Blocks, samples: tuple[Sample, ...]) -> Blocks:
    fresh = tuple(sample for sample in samples if isinstance(sample, MemorySample) and _is_next(before, sample))
    if not fresh:
        return before
    begin_seconds = fresh[-1].seconds - PAST_SECONDS
    kept = tuple(block for block in before if block[-1].seconds >= begin_seconds)
    if kept and len(kept[-1]) + len(fresh) <= BLOCK_SAMPLES:
        return (*kept[:-1], (*kept[-1], *fresh))
    return (*kept, fresh)


def _is_next(before: Blocks, sample: MemorySample) -> bool:
    """Whether a reading is the first of its device, or late enough after the one before to be remembered as well."""
    newest = chain.from_iterable(reversed(block) for block in reversed(before[-2:]))
    last = next((known for known in newest if known.device == sample.device), None)
    return last is None or sample.seconds - last.seconds >= POINT_SECONDS


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
