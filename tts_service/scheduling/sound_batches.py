"""Which chunks go on towards sound next: the most urgent decides what is done, others who need the same join. Pure.

Rules
* A chunk's decode is begun, takes its steps, and becomes sound. Between any two of these others may join, pass, or be
  let pass: each decision is about one piece of work of one kind.
* Before a step, chunks that wait are begun and join it, and all that are under way take it together: eight cost three
  times one. They stay out where they would make a chunk late that is in time without them; so the first sound of an
  utterance passes between two steps of others that have time, and joins them where it has some too.
* Interactive chunks and bulk ones do not join each other: whole segments are longer, and would have all wait for them.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from tts_service.scheduling.costs import Costs, expected
from tts_service.scheduling.urgency import Patience, Turns, in_order, is_held, rest
from tts_service.scheduling.work import ChunkState, ChunkWork, Priority, Rest, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How much at once."""

    together: int = 8
    """Chunks in one step."""
    late_together: int = 4
    """The same beside the first sound of an utterance that is late in any case."""
    under_way: int = 16
    """Chunks that are begun and not solved: each holds buffers."""
    bulk_under_way: int = 4
    """Those of them that may be bulk, so that an urgent one always finds a place soon."""
    sounding: int = 8
    """Chunks that become sound at once: what is marked is waited for, so the more the better."""
    patience: Patience = field(default_factory=lambda: Patience(hold_seconds=2.0))

    def __post_init__(self) -> None:
        assert 1 <= self.late_together <= self.together <= self.under_way
        assert 1 <= self.bulk_under_way < self.under_way


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundBatch:
    """Work of one kind, ENCODE, SOLVE or SOUND, for these chunks."""

    work: Work
    keys: tuple[int, ...]


def next_sound(
    chunks: Collection[ChunkWork], costs: Costs, limits: BatchLimits, turns: Turns, now: float
) -> tuple[SoundBatch | Rest, Turns]:
    """Return what the lane of sound does next, and what it remembers."""
    if not chunks:
        return Rest(), turns
    step_seconds = expected(costs, Work.SOLVE, limits.late_together)
    ordered, turns_after = in_order(
        chunks, lambda each: each.due_at - each.steps_left * step_seconds, limits.patience, turns, now
    )
    leader = ordered[0]
    if is_held(leader, limits.patience, now) and all(each.state is ChunkState.WAITING for each in ordered):
        return rest(chunks, limits.patience, now), turns
    peers = [each for each in ordered if each.priority is leader.priority]
    return _led(peers, costs, limits, now), turns_after


def _led(peers: Sequence[ChunkWork], costs: Costs, limits: BatchLimits, now: float) -> SoundBatch:
    """Return what the first of these does, with those that join it."""
    if peers[0].state is ChunkState.SOLVED:
        solved = [each for each in peers if each.state is ChunkState.SOLVED]
        return _batch(Work.SOUND, solved[: limits.sounding])
    solving = [each for each in peers if each.state is ChunkState.SOLVING]
    begun = _beginning(peers, solving, costs, limits, now)
    if begun:
        return _batch(Work.ENCODE, begun)
    if solving:
        return _batch(Work.SOLVE, _stepping(solving, costs, limits, now))
    return _batch(Work.SOUND, [each for each in peers if each.state is ChunkState.SOLVED][: limits.sounding])


def _beginning(
    peers: Sequence[ChunkWork], solving: Sequence[ChunkWork], costs: Costs, limits: BatchLimits, now: float
) -> list[ChunkWork]:
    """Return the chunks that begin before the next step: those that make nobody late who would be in time."""
    leader = peers[0]
    most = limits.bulk_under_way if leader.priority is Priority.BULK else limits.under_way - limits.bulk_under_way
    # An urgent chunk begins though a step is full without it; others begin only to join one.
    places = most - len(solving) if leader.state is ChunkState.WAITING else min(most, limits.together) - len(solving)
    begun = list[ChunkWork]()
    alone = _Pace.of(costs, 1)
    for each in [peer for peer in peers if peer.state is ChunkState.WAITING][: max(0, places)]:
        # Who leads by its own urgency goes first whoever it delays; that is what urgency means.
        kept = [*solving, *begun] if each is not leader else []
        if begun and len(begun) + len(solving) >= limits.together:
            break
        joined = _Pace.of(costs, min(len(begun) + 1 + len(solving), limits.together), beginning=len(begun) + 1)
        if any(alone.is_in_time(other, now) and not joined.is_in_time(other, now) for other in kept):
            break
        begun.append(each)
    return begun


def _stepping(solving: Iterable[ChunkWork], costs: Costs, limits: BatchLimits, now: float) -> list[ChunkWork]:
    """Return the chunks that take the next step together, the most urgent first.

    Nobody stays out for one that is late beside few others already: it is past help, and as many as can be go on, so
    that fewer follow it. Only an utterance's first sound keeps to few: it is late by a promise and not yet by a gap.
    """
    stepping = list[ChunkWork]()
    few = _Pace.of(costs, limits.late_together)
    for each in solving:
        if len(stepping) == limits.together:
            break
        if len(stepping) >= limits.late_together:
            pace = _Pace.of(costs, len(stepping) + 1)
            helped = (other for other in stepping if other.opens or few.is_in_time(other, now))
            if any(not pace.is_in_time(other, now) for other in helped):
                break
        stepping.append(each)
    return stepping


@dataclass(frozen=True, slots=True)
class _Pace:
    """How long chunks take from here, so many together, after so many others have begun."""

    step_seconds: float
    beside_seconds: float

    @classmethod
    def of(cls, costs: Costs, together: int, *, beginning: int = 0) -> "_Pace":
        encode_seconds = expected(costs, Work.ENCODE, beginning) if beginning else 0.0
        return cls(expected(costs, Work.SOLVE, together), encode_seconds + expected(costs, Work.SOUND))

    def is_in_time(self, chunk: ChunkWork, now: float) -> bool:
        return now + chunk.steps_left * self.step_seconds + self.beside_seconds <= chunk.due_at


def _batch(work: Work, chunks: Sequence[ChunkWork]) -> SoundBatch:
    return SoundBatch(work=work, keys=tuple(each.key for each in chunks))
