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
    sounding: int = 1
    """Chunks whose waveforms are made at once."""
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
    for each in [peer for peer in peers if peer.state is ChunkState.WAITING][: max(0, places)]:
        # Who leads by its own urgency goes first whoever it delays; that is what urgency means.
        kept = [*solving, *begun] if each is not leader else []
        if begun and len(begun) + len(solving) >= limits.together:
            break
        together = min(len(begun) + 1 + len(solving), limits.together)
        if any(_is_made_late(other, len(begun) + 1, together, costs, now) for other in kept):
            break
        begun.append(each)
    return begun


def _is_made_late(chunk: ChunkWork, beginning: int, together: int, costs: Costs, now: float) -> bool:
    """Tell whether a chunk that would be in time is late if so many begin first, and so many then step."""
    if not _is_in_time(chunk, 1, costs, now):
        return False
    joined = expected(costs, Work.ENCODE, beginning) + chunk.steps_left * expected(costs, Work.SOLVE, together)
    return now + joined + expected(costs, Work.SOUND) > chunk.due_at


def _stepping(solving: Iterable[ChunkWork], costs: Costs, limits: BatchLimits, now: float) -> list[ChunkWork]:
    """Return the chunks that take the next step together, the most urgent first."""
    stepping = list[ChunkWork]()
    for each in solving:
        if len(stepping) == limits.together:
            break
        if any(_is_slowed(other, len(stepping) + 1, costs, limits, now) for other in stepping):
            break
        stepping.append(each)
    return stepping


def _is_slowed(chunk: ChunkWork, together: int, costs: Costs, limits: BatchLimits, now: float) -> bool:
    """Tell whether steps with so many make a chunk late.

    One that is late beside few others already is past help: then as many as can be go on, so that fewer follow it. Only
    the first sound of an utterance, which is late by a promise and not yet by a gap, keeps to few.
    """
    if together <= limits.late_together:
        return False
    if not chunk.opens and not _is_in_time(chunk, limits.late_together, costs, now):
        return False
    return not _is_in_time(chunk, together, costs, now)


def _is_in_time(chunk: ChunkWork, together: int, costs: Costs, now: float) -> bool:
    seconds = chunk.steps_left * expected(costs, Work.SOLVE, together) + expected(costs, Work.SOUND)
    return now + seconds <= chunk.due_at


def _batch(work: Work, chunks: Sequence[ChunkWork]) -> SoundBatch:
    return SoundBatch(work=work, keys=tuple(each.key for each in chunks))
