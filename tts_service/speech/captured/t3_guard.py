"""Multilingual's alignment guard for many slots at once: `alignment_guard` with tensors for numbers.

What is remembered and decided is in the state, one row for each slot, and the choice of the next token reads it there.
"""

import torch

from tts_service.speech.alignment_guard import (
    BACKWARD,
    FORWARD,
    MAX_REPETITION,
    MAX_TAIL,
    RECENT_TOKENS,
    RULED,
    TAIL_TOKENS,
)
from tts_service.speech.captured.t3_arithmetic import Watched
from tts_service.speech.captured.t3_state import ROWS, Batch, Followed, Number, Rule
from tts_service.speech.captured.t3_torch import turned
from tts_service.speech.captured.t3_weights import T3Weights
from tts_service.speech.captured.token_pages import PAGE_POSITIONS


def watch(weights: T3Weights, watched: Watched, batch: Batch) -> torch.Tensor:
    """Return the watched heads' attention on each slot's text (slots, positions), on average; 0 beyond the text.

    Lengths are read on the host, so this is never captured.
    """
    queries = watched.queries.transpose(0, 1)
    queries = queries if watched.rotation is None else turned(queries, watched.rotation)
    slots = batch.slots.tolist()
    spans = batch.state.followed[slots, : Followed.POSITION].int().tolist()
    found = queries.new_zeros(len(slots), max(end - start for start, end in spans), dtype=torch.float32)
    for place, (slot, (start, end)) in enumerate(zip(slots, spans, strict=True)):
        count = int(batch.state.numbers[slot, Number.POSITION]) + 1
        pages = batch.state.tables[slot * ROWS, : -(-count // PAGE_POSITIONS)].clamp(min=0).long()
        heads = zip(weights.watched, queries[place], strict=True)
        keys = [(batch.pages[pages, layer, 0, head].flatten(0, 1)[:count], query) for (layer, head), query in heads]
        odds = [
            torch.softmax(each.float() @ query.float() * query.shape[0] ** -0.5, dim=-1)[start:end]
            for each, query in keys
        ]
        mean = torch.stack(odds).mean(dim=0)
        found[place, : len(mean)] = mean
    return found


def follow(batch: Batch, aligned: torch.Tensor) -> None:
    """Remember and decide by the attention on each slot's text (slots, positions), float32."""
    state, slots = batch.state, batch.slots.long()
    numbers, held = state.numbers[slots], state.followed[slots]
    steps, last = numbers[:, Number.STEP], numbers[:, Number.LAST]
    count = (held[:, Followed.END] - held[:, Followed.START]).long()
    at = torch.arange(aligned.shape[1], device=aligned.device)
    # Speech cannot be further than its steps.
    aligned = aligned.masked_fill(at > torch.minimum(steps, count - 1)[:, None], 0.0)
    seen = aligned.argmax(dim=-1)
    earlier = aligned.masked_fill(at >= (count - RECENT_TOKENS)[:, None], 0.0).amax(dim=-1)
    places = (count - TAIL_TOKENS)[:, None] + torch.arange(TAIL_TOKENS, device=aligned.device)
    tail = aligned.gather(1, places.clamp(min=0)).masked_fill(places < 0, 0.0)

    before, complete = held[:, Followed.POSITION].long(), held[:, Followed.COMPLETE]
    moved = (seen - before > -BACKWARD) & (seen - before < FORWARD)
    position = torch.where(moved, seen, before)
    repeated = (steps > 1) & (last == held[:, Followed.BEFORE].long())
    held[:, Followed.POSITION] = position.double()
    # Sums begin with the step after the one that completes the text.
    held[:, Followed.EARLIER] += torch.where(complete > 0, earlier.double(), 0.0)
    held[:, Followed.TAIL :] += torch.where(complete[:, None] > 0, tail.double(), 0.0)
    held[:, Followed.COMPLETE] = torch.maximum(complete, (position >= count - TAIL_TOKENS).double())
    held[:, Followed.BEFORE] = last.double()
    forced = (
        repeated | (held[:, Followed.TAIL :].amax(dim=-1) >= MAX_TAIL) | (held[:, Followed.EARLIER] > MAX_REPETITION)
    )
    suppressed = (seen < count - TAIL_TOKENS) & (count > RECENT_TOKENS)
    state.followed[slots] = held
    state.rules[slots] = torch.where(forced, Rule.FORCED, torch.where(suppressed, Rule.SUPPRESSED, Rule.FREE)).int()


def ruled(logits: torch.Tensor, rules: torch.Tensor, stop_token: int) -> torch.Tensor:
    """Return the logits (slots, vocabulary) under the slots' rules (slots,)."""
    is_stop = torch.arange(logits.shape[1], device=logits.device) == stop_token
    rules = rules[:, None]
    suppressed = logits.masked_fill(is_stop & (rules == Rule.SUPPRESSED), -RULED)
    return torch.where(rules == Rule.FORCED, torch.where(is_stop, RULED, -RULED), suppressed)
