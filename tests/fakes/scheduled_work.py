"""Work for the scheduler's tests, and lanes that do what it decides at the costs that it expects."""

import math
from collections.abc import Iterable
from dataclasses import replace

from tests.fakes.device_figures import ENGLISH
from tts_service.scheduling.costs import Costs, expected
from tts_service.scheduling.sound_batches import BatchLimits, SoundBatch, next_sound
from tts_service.scheduling.urgency import Turns
from tts_service.scheduling.work import ChunkState, ChunkWork, Priority, Rest, TokenWork, Work

COSTS = Costs(figures=ENGLISH)


def chunk(
    key: int,
    due_at: float = math.inf,
    *,
    since: float = 0.0,
    steps_left: int = 10,
    state: ChunkState = ChunkState.WAITING,
    opens: bool = False,
) -> ChunkWork:
    """Return a chunk; one that is never due is bulk."""
    return ChunkWork(
        key=key,
        due_at=due_at,
        waiting_since=since,
        steps_left=0 if state is ChunkState.SOLVED else steps_left,
        state=state,
        opens=opens,
        priority=Priority.BULK if due_at == math.inf else Priority.INTERACTIVE,
    )


def segment(
    key: int,
    due_at: float = math.inf,
    *,
    since: float = 0.0,
    rows: int = 2,
    left: int = 24,
    room: int = 100,
    begun: bool = True,
    opens: bool = False,
) -> TokenWork:
    """Return a segment; one that is never due is bulk."""
    return TokenWork(
        key=key,
        due_at=due_at,
        waiting_since=since,
        rows=rows,
        left=left,
        room=room,
        begun=begun,
        opens=opens,
        priority=Priority.BULK if due_at == math.inf else Priority.INTERACTIVE,
    )


class SoundLane:
    """A lane of sound: chunks that come, and decisions that are carried out."""

    def __init__(self, limits: BatchLimits | None = None, costs: Costs = COSTS) -> None:
        self.now = 0.0
        self.chunks: dict[int, ChunkWork] = {}
        self.done: dict[int, float] = {}
        self.decisions: list[SoundBatch] = []
        self._limits = limits or BatchLimits()
        self._costs = costs
        self._turns = Turns()

    def add(self, chunks: Iterable[ChunkWork]) -> None:
        """Have chunks come."""
        self.chunks.update({each.key: each for each in chunks})

    def step(self) -> SoundBatch | Rest:
        """Carry out one decision; a rest until a time lasts that long."""
        decision, self._turns = next_sound(list(self.chunks.values()), self._costs, self._limits, self._turns, self.now)
        if isinstance(decision, Rest):
            self.now = max(self.now, decision.until) if decision.until < math.inf else self.now
            return decision
        self.decisions.append(decision)
        self.now += expected(self._costs, decision.work, len(decision.keys))
        for key in decision.keys:
            self._go_on(key, decision.work)
        return decision

    def _go_on(self, key: int, work: Work) -> None:
        each = self.chunks[key]
        match work, each.state:
            case Work.ENCODE, ChunkState.WAITING:
                self.chunks[key] = replace(each, state=ChunkState.SOLVING)
            case Work.SOLVE, ChunkState.SOLVING:
                left = each.steps_left - 1
                state = ChunkState.SOLVING if left else ChunkState.SOLVED
                self.chunks[key] = replace(each, steps_left=left, state=state)
            case Work.SOUND, ChunkState.SOLVED:
                del self.chunks[key]
                self.done[key] = self.now
            case _:
                raise AssertionError(f"{work} for a chunk that is {each.state}")

    def __repr__(self) -> str:
        return f"<SoundLane {self.now:.3f} s | {len(self.chunks)} chunks, {len(self.done)} done>"
