"""How full the lanes are with the sessions that are let in: measured costs, times what the sessions ask for. Pure.

Rules
* A session that speaks needs a second of audio every second. One that listens needs none now, and may speak at any
  moment: it counts for a share, which is the caller's bet on how many speak at once.
* A lane's work takes longer beside the other lane's, as often as that works.
* Bulk counts for nothing here: it has what is left.
"""

from dataclasses import dataclass
from typing import Final

from tts_service.scheduling.chunk_plans import TOKENS_PER_SECOND
from tts_service.scheduling.costs import Costs, decode_seconds, expected, tokens_seconds
from tts_service.scheduling.work import Together, Work

SOUNDING_SHARE: Final = 0.5
"""Of the chunks that are decoded together, as many become sound at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a session's speech is like, on the average; to be measured where it can be."""

    tokens_per_chunk: float = 67.0
    """Of the plan STEADY and of segments' ends, for 15 s of sentences of 3 to 8 s: 55 in 8 s, 76 in 30."""
    tokens_per_segment: float = 125.0
    """5 s: each has a prompt to read."""
    tokens_together: float = 0.25
    """The part of those that speak whose tokens are made in the same pass: others are ahead."""
    chunks_together: float = 0.75
    """How full a step of the solver is, of what may step together, when the lane is full."""
    listening_share: float = 0.5
    """What an interactive session that does not speak now counts for."""
    first_tokens: int = 28
    """Of the first chunk of an utterance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The share of its time that each lane works; above 1 it cannot keep up."""

    tokens: float
    sound: float

    @property
    def fullest(self) -> float:
        """The share of the lane that is short."""
        return max(self.tokens, self.sound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Interactive sessions that are open."""

    speaking: int
    listening: int
    beginning: int = 0
    """Those of them that speak and have not sounded yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the machine stands: the fullest lane's load now, and with one interactive session more."""

    load: float
    load_with_one: float
    late_share: float = 0.0
    """Work that came too late lately, of all."""
    first_audio_seconds: float = 0.3
    """From admission to the first sound, at this load."""
    beginning: int = 0
    """Interactive sessions that were asked to speak and have not sounded yet."""

    def __post_init__(self) -> None:
        assert 0.0 <= self.load < self.load_with_one


def standing_of(crowd: Crowd, costs: Costs, usage: Usage, together: Together, *, late_share: float = 0.0) -> Standing:
    """Return how the machine stands with a crowd, of which one more would speak at once."""
    speaking = crowd.speaking + usage.listening_share * crowd.listening
    load = load_of(speaking, costs, usage, together).fullest
    # Where more at once costs less each, what was learned may even say that one more costs nothing.
    at_least = load * (1.0 + 0.5 / max(1.0, speaking))
    most = max(1, round(speaking))
    return Standing(
        load=load,
        load_with_one=max(at_least, load_of(speaking + 1.0, costs, usage, together).fullest),
        late_share=late_share,
        beginning=crowd.beginning,
        first_audio_seconds=expected(costs, Work.PROMPT)
        + tokens_seconds(costs, usage.first_tokens, min(most, together.segments))
        + decode_seconds(costs, min(most, together.chunks)),
    )


def load_of(speaking: float, costs: Costs, usage: Usage, together: Together) -> Load:
    """Return how full the lanes are while so many speak; one that counts for a share is part of the number."""
    if speaking <= 0.0:
        return Load(tokens=0.0, sound=0.0)
    tokens = speaking * _token_lane_seconds(speaking, costs, usage, together.segments)
    sound = speaking * _sound_lane_seconds(speaking, costs, usage, together.chunks)
    contention = costs.figures.contention - 1.0
    return Load(
        tokens=tokens * (1.0 + contention * min(1.0, sound)), sound=sound * (1.0 + contention * min(1.0, tokens))
    )


def _token_lane_seconds(speaking: float, costs: Costs, usage: Usage, most: int) -> float:
    """Return what a second of one session's tokens costs, made together with others'."""
    together = max(1.0, min(most, speaking * usage.tokens_together))
    step = expected(costs, Work.TOKEN, together * costs.figures.rows, beside=0.0) / together
    prompts = TOKENS_PER_SECOND / usage.tokens_per_segment
    return TOKENS_PER_SECOND * step + prompts * expected(costs, Work.PROMPT, beside=0.0)


def _sound_lane_seconds(speaking: float, costs: Costs, usage: Usage, most: int) -> float:
    """Return what a second of one session's sound costs, in batches as full as a busy lane's are."""
    together = max(1.0, min(speaking, most * usage.chunks_together))
    encode = expected(costs, Work.ENCODE, together, beside=0.0)
    solve = costs.figures.solver_steps * expected(costs, Work.SOLVE, together, beside=0.0)
    sounding = max(1.0, together * SOUNDING_SHARE)
    chunk = (encode + solve) / together + expected(costs, Work.SOUND, sounding, beside=0.0) / sounding
    return chunk * TOKENS_PER_SECOND / usage.tokens_per_chunk
