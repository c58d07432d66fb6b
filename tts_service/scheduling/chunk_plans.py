"""Which schedule an utterance's chunks follow. It is chosen once, when the utterance begins.

Rules
* A schedule fixes where every chunk ends before the first token is made. So an utterance's samples depend on its text,
  its settings, its seed and its plan, and on nothing that happens meanwhile.
* Larger chunks cost less a second, because a decode is mostly its prompt. Smaller ones are there sooner. The first is
  about the least that can be heard; plans differ in how fast they grow.
* What is chosen is the largest that keeps its listener from hearing a gap on this machine, where urgent work goes
  beside few others. How many speak now does not count: smaller chunks would make a full machine fuller. A request that
  must be reproducible takes STANDARD on every machine, and bulk takes whole segments.
"""

import math
from dataclasses import dataclass
from typing import Final

from tts_service.scheduling.costs import Costs, decode_seconds, tokens_seconds
from tts_service.scheduling.work import Priority, Together
from tts_service.speech.mel_chunks import ChunkSchedule, chunk_tokens, tail_tokens
from tts_service.speech.session_config import MAX_SEGMENT_TOKENS

TOKENS_PER_SECOND: Final = 25
WITHHELD_SECONDS: Final = 0.65
"""What a chunk that is not a segment's last cannot let out yet: 3 tokens of look-ahead (0.12), 8 frames that are
blended (0.16), the vocoder's 9 (0.18) and the mark's look-ahead (0.19)."""
CHUNKS_FORESEEN: Final = 12
"""By then every schedule has grown to its cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkPlan:
    """A schedule with a name, by which an utterance's report can tell it."""

    name: str
    schedule: ChunkSchedule


STANDARD: Final = ChunkPlan(name="standard", schedule=ChunkSchedule())
STEADY: Final = ChunkPlan(
    name="steady",
    schedule=ChunkSchedule(first_tokens=28, next_tokens=84, growth=2.0, max_tokens=112, tail_tokens=16),
)
"""Chunks of up to 4.5 s, so that most sentences are decoded once or twice: a decode is mostly its prompt. Four tokens
more in the first chunk than STANDARD has give half as much again to hear until the second, which has to be large, and
cost the first sound 5 ms. Simulated on an H100 with 96 sessions for 25 s, 90 of them heard a gap with chunks of up to
75 tokens, 80 with these but for their tails, 20 with all; 64 heard none with work a quarter dearer than measured."""
WHOLE: Final = ChunkPlan(
    name="whole",
    schedule=ChunkSchedule(
        first_tokens=MAX_SEGMENT_TOKENS, next_tokens=MAX_SEGMENT_TOKENS, max_tokens=MAX_SEGMENT_TOKENS
    ),
)
"""Stages that have graphs cut it where the longest of them ends: after 14 s beside a prompt of 10 s."""
INTERACTIVE_PLANS: Final = (STEADY, STANDARD)
"""From the cheapest to the one that asks least of the machine in its beginning."""


def plan_for(priority: Priority, costs: Costs, beside_urgent: Together, *, reproducible: bool = False) -> ChunkPlan:
    """Return what an utterance is cut by; without a safe plan, the least unsafe.

    `beside_urgent` is what is computed together where one of it is urgent.
    """
    if reproducible:
        return STANDARD
    if priority is Priority.BULK:
        return WHOLE
    leads = {plan.name: least_lead_seconds(plan, costs, beside_urgent) for plan in INTERACTIVE_PLANS}
    safe = [plan for plan in INTERACTIVE_PLANS if leads[plan.name] >= 0.0]
    return safe[0] if safe else max(INTERACTIVE_PLANS, key=lambda plan: leads[plan.name])


def least_lead_seconds(plan: ChunkPlan, costs: Costs, together: Together) -> float:
    """Return how much is still to hear, at the least, when a chunk after the first becomes sound.

    For one segment without end, all of whose work is done together with so many others'. Negative for a gap.
    """
    decode = decode_seconds(costs, together.chunks)
    lead = audible_seconds(plan, 0)
    least = math.inf
    for chunk in range(1, CHUNKS_FORESEEN):
        tokens = chunk_tokens(plan.schedule, chunk)
        # The tail that the chunk before has waited for is the beginning of this one.
        waits_for = tokens + tail_tokens(plan.schedule, chunk) - tail_tokens(plan.schedule, chunk - 1)
        # Tokens run ahead during a decode: only the longer of both is waited for, once both lanes are under way.
        seconds = tokens_seconds(costs, waits_for, together.segments)
        lead -= seconds + decode if chunk == 1 else max(seconds, decode)
        least = min(least, lead)
        lead += tokens / TOKENS_PER_SECOND
    return least


def audible_seconds(plan: ChunkPlan, chunk: int, *, final: bool = False) -> float:
    """Return how much more of an utterance's first segment can be heard with a chunk of a plan's length."""
    seconds = chunk_tokens(plan.schedule, chunk) / TOKENS_PER_SECOND
    withheld_before = WITHHELD_SECONDS if chunk else 0.0
    return max(0.0, seconds + withheld_before - (0.0 if final else WITHHELD_SECONDS))
