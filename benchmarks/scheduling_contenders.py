"""Ways to schedule that are compared: the shipped one, and what others do."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from tts_service.scheduling.admission import AdmissionLimits
from tts_service.scheduling.capacity import Usage
from tts_service.scheduling.chunk_plans import STANDARD, WHOLE, ChunkPlan, plan_for
from tts_service.scheduling.costs import Costs
from tts_service.scheduling.deadlines import Promise
from tts_service.scheduling.sound_batches import BatchLimits, SoundBatch, next_sound
from tts_service.scheduling.token_bursts import Burst, BurstLimits, next_burst
from tts_service.scheduling.urgency import Turns
from tts_service.scheduling.work import ChunkState, ChunkWork, Priority, Rest, Together, TokenWork, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All that can be set of the shipped way."""

    burst: BurstLimits = field(default_factory=BurstLimits)
    batch: BatchLimits = field(default_factory=BatchLimits)
    promise: Promise = field(default_factory=Promise)
    usage: Usage = field(default_factory=Usage)
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)

    @property
    def together(self) -> Together:
        """What is computed at once."""
        return Together(segments=self.burst.segments, chunks=self.batch.together)


class Contender(Protocol):
    """A way to schedule."""

    name: str
    rules: Rules
    admits: bool
    """Whether it may refuse."""

    def tokens(self, segments: Collection[TokenWork], costs: Costs, now: float) -> Burst | Rest:
        """Decide for the lane of tokens."""
        ...

    def sound(self, chunks: Collection[ChunkWork], costs: Costs, now: float) -> SoundBatch | Rest:
        """Decide for the lane of sound."""
        ...

    def plan(self, priority: Priority, costs: Costs) -> ChunkPlan:
        """Choose an utterance's schedule."""
        ...


class ByDeadline:
    """The shipped way."""

    def __init__(self, rules: Rules | None = None, *, admits: bool = True, name: str = "by deadline") -> None:
        self.name = name
        self.rules = rules or Rules()
        self.admits = admits
        self._token_turns = Turns()
        self._sound_turns = Turns()

    def tokens(self, segments: Collection[TokenWork], costs: Costs, now: float) -> Burst | Rest:
        """Decide for the lane of tokens."""
        rules = self.rules
        decision, self._token_turns = next_burst(segments, costs, rules.burst, self._token_turns, now)
        return decision

    def sound(self, chunks: Collection[ChunkWork], costs: Costs, now: float) -> SoundBatch | Rest:
        """Decide for the lane of sound."""
        rules = self.rules
        decision, self._sound_turns = next_sound(chunks, costs, rules.batch, self._sound_turns, now)
        return decision

    def plan(self, priority: Priority, costs: Costs) -> ChunkPlan:
        """Choose the cheapest that is safe."""
        rules = self.rules
        few = Together(segments=rules.burst.late_segments, chunks=rules.batch.late_together)
        return plan_for(priority, costs, few)


class FirstCome:
    """First come, first served: one at a time, or in batches that run to their end before the next begins."""

    def __init__(self, *, at_once: int, name: str, rules: Rules | None = None) -> None:
        self.name = name
        self.rules = rules or Rules()
        self.admits = False
        self._at_once = at_once

    def tokens(self, segments: Collection[TokenWork], costs: Costs, now: float) -> Burst | Rest:
        """Give a turn of eight tokens to who waits longest."""
        del costs, now
        if not segments:
            return Rest()
        ordered = sorted(segments, key=lambda each: (each.waiting_since, each.key))
        new = next((each for each in ordered if not each.begun), None)
        if new is not None:
            return Burst(keys=(new.key,), rows=new.rows, tokens=0)
        taken = ordered[: 32 if self._at_once > 1 else 1]
        tokens = min(8, *(each.room for each in taken), math.inf)
        return Burst(keys=tuple(each.key for each in taken), rows=taken[0].rows, tokens=int(tokens))

    def sound(self, chunks: Collection[ChunkWork], costs: Costs, now: float) -> SoundBatch | Rest:
        """Finish what is under way, then begin who waits longest."""
        del costs, now
        for state, work, most in (
            (ChunkState.SOLVING, Work.SOLVE, self._at_once),
            (ChunkState.SOLVED, Work.SOUND, 1),
            (ChunkState.WAITING, Work.ENCODE, self._at_once),
        ):
            ready = sorted((each for each in chunks if each.state is state), key=lambda each: each.waiting_since)
            if ready:
                return SoundBatch(work=work, keys=tuple(each.key for each in ready[:most]))
        return Rest()

    def plan(self, priority: Priority, costs: Costs) -> ChunkPlan:
        """Take the standard one."""
        del costs
        return WHOLE if priority is Priority.BULK else STANDARD
