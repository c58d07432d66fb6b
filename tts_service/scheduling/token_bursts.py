"""Which segments have tokens made next, and how many: everybody together, as long as the most urgent can bear it. Pure.

Rules
* A pass costs little more for many segments than for one, so all whose rows are of the same number go along, down to
  those far ahead. They stay out only where they would make one late that is in time with few others.
* A burst ends where the first of its chunks does, and lasts no longer than `most_seconds`: that is how long a segment
  that has just begun waits, and a cancelled one computes on.
* A prompt is read alone. Whoever is not begun can go along with nobody, so where there is time, prompts are read before
  the next burst, however far ahead they are: that is what fills passes.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from tts_service.scheduling.costs import Costs, expected
from tts_service.scheduling.urgency import Patience, Turns, in_order, is_held, rest
from tts_service.scheduling.work import Priority, Rest, TokenWork, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstLimits:
    """How much at once."""

    segments: int = 32
    late_segments: int = 16
    """As many go along with the first chunk of an utterance that is late in any case. With 153 Turbo sessions on an
    H100 a burst of 8 took 9.7 ms and one of 32 no longer, and with 8 most of those that were ready stayed behind."""
    tokens: int = 8
    most_seconds: float = 0.010
    patience: Patience = field(default_factory=lambda: Patience(hold_seconds=0.5))

    def __post_init__(self) -> None:
        assert 1 <= self.late_segments <= self.segments


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """So many tokens of each of these segments; none for one whose prompt is read."""

    keys: tuple[int, ...]
    rows: int
    tokens: int


def next_burst(
    segments: Collection[TokenWork], costs: Costs, limits: BurstLimits, turns: Turns, now: float
) -> tuple[Burst | Rest, Turns]:
    """Return what the lane of tokens does next, and what it remembers."""
    if not segments:
        return Rest(), turns
    step_seconds = {rows: expected(costs, Work.TOKEN, limits.late_segments * rows) for rows in (1, 2)}
    ordered, turns_after = in_order(
        segments, lambda each: each.due_at - each.left * step_seconds[each.rows], limits.patience, turns, now
    )
    leader = ordered[0]
    if is_held(leader, limits.patience, now):
        return rest(segments, limits.patience, now), turns
    if not leader.begun:
        return Burst(keys=(leader.key,), rows=leader.rows, tokens=0), turns_after
    together = _together(ordered, costs, limits, now)
    new = _bearable_prompt(ordered, together, costs, limits, now)
    if new is not None:
        return Burst(keys=(new.key,), rows=new.rows, tokens=0), turns_after
    tokens = _tokens(together, costs, limits)
    return Burst(keys=tuple(each.key for each in together), rows=leader.rows, tokens=tokens), turns_after


def _together(ordered: Sequence[TokenWork], costs: Costs, limits: BurstLimits, now: float) -> list[TokenWork]:
    """Return those that go along with the first."""
    leader = ordered[0]
    able = [each for each in ordered if each.begun and each.rows == leader.rows]
    bound, together = math.inf, list[TokenWork]()
    for each in able[: limits.segments]:
        bound = min(bound, _bearable_step_seconds(each, costs, limits, now))
        if together and expected(costs, Work.TOKEN, (len(together) + 1) * leader.rows) > bound:
            break
        together.append(each)
    return together


def _bearable_prompt(
    ordered: Sequence[TokenWork], together: Sequence[TokenWork], costs: Costs, limits: BurstLimits, now: float
) -> TokenWork | None:
    """Return the next segment whose prompt can be read first: none that is in time becomes late by it.

    Who is late in any case keeps nobody out who is needed soon: the fewer go along, the longer all of them take.
    """
    new = next((each for each in ordered if not each.begun), None)
    if new is None or len(together) >= limits.segments:
        return None
    began_at = now + expected(costs, Work.PROMPT)
    step_seconds = expected(costs, Work.TOKEN, (len(together) + 1) * together[0].rows)

    def is_in_time(segment: TokenWork, from_then: float) -> bool:
        return from_then + segment.left * step_seconds <= segment.due_at

    made_late = [each for each in together if not is_in_time(each, began_at)]
    can_wait = new.priority is Priority.BULK or is_held(new, limits.patience, now)
    is_borne = not (made_late if can_wait else [each for each in made_late if is_in_time(each, now)])
    return new if is_borne else None


def _bearable_step_seconds(segment: TokenWork, costs: Costs, limits: BurstLimits, now: float) -> float:
    """Return how long a step may take for a segment to be in time, and no less than one with few others takes.

    One that is late even so, and has been heard before, may as well take all along: then fewer follow it.
    """
    in_time = (segment.due_at - now) / segment.left
    with_few = expected(costs, Work.TOKEN, limits.late_segments * segment.rows)
    return max(in_time, with_few) if segment.opens or in_time >= with_few else math.inf


def _tokens(together: Sequence[TokenWork], costs: Costs, limits: BurstLimits) -> int:
    step_seconds = expected(costs, Work.TOKEN, len(together) * together[0].rows)
    bearable = max(1, int(limits.most_seconds / step_seconds))
    return min(limits.tokens, bearable, together[0].left, *(each.room for each in together))
