"""Multilingual's alignment guard: where in the text the speech is, and whether it may or must stop.

Upstream's `AlignmentStreamAnalyzer` reads the same three heads through hooks that it never takes away, keeps the whole
alignment and sums it anew at every token. What it decides by is kept here: a position, six sums and two tokens. Its
"false start" changes nothing and is left out. Decisions equal upstream's, except that texts of five tokens or fewer,
which crash upstream, have no earlier text to fall back to.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

import torch

ALIGNED_HEADS: Final = ((9, 2), (12, 15), (13, 11))
"""Layers and heads that follow the text (upstream's `LLAMA_ALIGNED_HEADS`)."""

BACKWARD: Final = 4
FORWARD: Final = 7
"""A step of the position is believed if it is shorter than these."""

TAIL_TOKENS: Final = 3
RECENT_TOKENS: Final = 5
"""The text's last tokens: the stop token and what is often punctuation; and those that may be spoken after the end."""

MAX_TAIL: Final = 5.0
MAX_REPETITION: Final = 5.0
"""Attention, summed over steps after completion, on one of the last tokens (200 ms), and on text before them."""

RULED: Final = 2.0**15
"""What a rule makes of a logit, or its negative: it fits every float of 16 bits."""


class StopRule(Enum):
    """What the guard does to the stop token."""

    FREE = "free"
    SUPPRESSED = "suppressed"
    FORCED = "forced"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentGlance:
    """What one step's attention on the text says.

    `position` is the text token with the most; `tail` the attention on each of the last three; `earlier` the most that
    any token before the last five has, 0 where there is none.
    """

    position: int
    tail: tuple[float, ...]
    earlier: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentState:
    """What is remembered of the steps so far, for a text of `text_tokens`."""

    text_tokens: int
    position: int = 0
    complete: bool = False
    tail: tuple[float, ...] = (0.0,) * TAIL_TOKENS
    earlier: float = 0.0
    tokens: int = 0
    last_token: int | None = None


def glance(attentions: torch.Tensor, text_span: tuple[int, int], step: int) -> AlignmentGlance:
    """Return what the heads' attention (heads, positions) says of the text at [start, end), in one transfer.

    At step n only the text's first n + 1 tokens count, as upstream has it: speech cannot be further than that.
    """
    aligned = attentions.mean(dim=0)[slice(*text_span)].clone()
    aligned[step + 1 :] = 0
    # A token before the last five with no attention stands in where there is none.
    earlier = torch.cat([aligned.new_zeros(1), aligned[:-RECENT_TOKENS]]).max()
    position, earlier_peak, *tail = torch.stack(
        [aligned.argmax().to(aligned.dtype), earlier, *aligned[-TAIL_TOKENS:]]
    ).tolist()
    return AlignmentGlance(
        position=int(position), tail=(*tail, *(0.0,) * (TAIL_TOKENS - len(tail))), earlier=earlier_peak
    )


def follow(state: AlignmentState, seen: AlignmentGlance, last_token: int) -> tuple[AlignmentState, StopRule]:
    """Return the next state and what to do; `last_token` is the one before this step, at first the start token."""
    position = seen.position if -BACKWARD < seen.position - state.position < FORWARD else state.position
    after = replace(
        state,
        position=position,
        complete=state.complete or position >= state.text_tokens - TAIL_TOKENS,
        # Sums begin with the step after the one that completes the text.
        tail=tuple(a + b for a, b in zip(state.tail, seen.tail, strict=True)) if state.complete else state.tail,
        earlier=state.earlier + seen.earlier if state.complete else state.earlier,
        tokens=state.tokens + 1,
        last_token=last_token,
    )
    # The start token and the first one are not compared.
    return after, _rule(after, seen, repeated=state.tokens > 1 and last_token == state.last_token)


def _rule(state: AlignmentState, seen: AlignmentGlance, *, repeated: bool) -> StopRule:
    """Say what follows from a state that this step has led to; `repeated`: the last two tokens are equal."""
    if repeated or max(state.tail) >= MAX_TAIL or state.earlier > MAX_REPETITION:
        return StopRule.FORCED
    if seen.position < state.text_tokens - TAIL_TOKENS and state.text_tokens > RECENT_TOKENS:
        return StopRule.SUPPRESSED
    return StopRule.FREE


def ruled(logits: torch.Tensor, rule: StopRule, stop_token: int) -> torch.Tensor:
    """Return the logits (vocabulary,) under a rule."""
    if rule is StopRule.FREE:
        return logits
    changed = logits.clone() if rule is StopRule.SUPPRESSED else torch.full_like(logits, -RULED)
    changed[stop_token] = RULED if rule is StopRule.FORCED else -RULED
    return changed
