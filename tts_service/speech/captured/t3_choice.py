"""Choosing many slots' tokens at once, each by its own settings: `sampling.weighed` with tensors for numbers.

On a GPU kernels take its place (`t3_choosing`). Nothing is read back.
"""

import math

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.captured.t3_guard import ruled
from tts_service.speech.captured.t3_state import BURST_TOKENS, FAULT, FORCED, Batch, Number, Rule, Setting
from tts_service.speech.captured.t3_weights import T3Weights
from tts_service.speech.random_source import token_noise
from tts_service.speech.sampling import Sampling


def is_ordered(sampling: Sampling) -> bool:
    """Say whether these settings need the tokens in order of their odds."""
    return sampling.top_p != 1.0 or sampling.top_k != 0


def choose(weights: T3Weights, logits: torch.Tensor, batch: Batch, model: ChatterboxModel, *, ordered: bool) -> None:
    """Choose a token for each slot from the rows' logits (rows, vocabulary), float32, and write it into the state."""
    state, slots = batch.state, batch.slots.long()
    numbers, settings = state.numbers[slots], state.settings[slots]
    own = logits[: len(slots)]
    guided = own + _column(settings, Setting.CFG_WEIGHT) * (own - logits[batch.partners.long()])
    rules = state.rules[slots]
    guided = ruled(guided, rules, weights.stop_token) if weights.watched else guided
    weighed = _weighed(guided, state.said[slots], settings, model, ordered=ordered)
    steps = numbers[:, Number.STEP]
    noise = token_noise(numbers[:, Number.KEY], steps, logits.shape[1])
    tokens = torch.argmax(weighed + noise, dim=-1)
    sound = torch.isfinite(weighed.amax(dim=-1))
    forgotten = weights.start_token if model is ChatterboxModel.TURBO else None
    _remember(batch, slots, torch.where(sound, tokens, 0), forgotten)
    marked = tokens + FORCED * (rules == Rule.FORCED)
    state.burst[slots, steps % BURST_TOKENS] = torch.where(sound, marked, FAULT).int()


def _weighed(
    logits: torch.Tensor, said: torch.Tensor, settings: torch.Tensor, model: ChatterboxModel, *, ordered: bool
) -> torch.Tensor:
    """Return the logits (slots, vocabulary) from whose softmax tokens are drawn, in the model's order of operations."""
    temperature, penalty = _column(settings, Setting.TEMPERATURE), _column(settings, Setting.REPETITION_PENALTY)
    if model is ChatterboxModel.TURBO:
        tempered = logits / temperature
        return _penalised(_within(tempered, settings) if ordered else tempered, said, penalty)
    tempered = _penalised(logits, said, penalty) / temperature
    likely = torch.softmax(tempered, dim=-1)
    unlikely = likely < _column(settings, Setting.MIN_P) * likely.amax(dim=-1, keepdim=True)
    kept = tempered.masked_fill(unlikely, -math.inf)
    return _within(kept, settings) if ordered else kept


def _column(settings: torch.Tensor, setting: Setting) -> torch.Tensor:
    return settings[:, setting, None]


def _penalised(logits: torch.Tensor, said: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
    return torch.where(said, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def _within(logits: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
    """Return the logits without tokens below the `top_k` largest, then without the unlikely ones beyond `top_p`."""
    top_k, top_p = settings[:, Setting.TOP_K].long()[:, None], _column(settings, Setting.TOP_P)
    ordered, places = torch.sort(logits)
    count = logits.shape[1]
    # A top_k of 0 keeps all: the least of them is the smallest.
    least = ordered.gather(1, torch.where(top_k > 0, count - top_k, 0).clamp(min=0))
    ordered = ordered.masked_fill(ordered < least, -math.inf)
    dropped = (torch.softmax(ordered, dim=-1).cumsum(dim=-1) <= 1 - top_p) & (top_p < 1)
    dropped[:, -1:].zero_()
    below_p = torch.zeros_like(dropped).scatter(1, places, dropped)
    return logits.masked_fill(below_p | (logits < least), -math.inf)


def _remember(batch: Batch, slots: torch.Tensor, tokens: torch.Tensor, forgotten: int | None) -> None:
    """Go on by one position and one step. `forgotten` is said no longer once the first token has been chosen."""
    state = batch.state
    if forgotten is not None:
        later = state.numbers[slots, Number.STEP] > 0
        state.said[slots, forgotten] = state.said[slots, forgotten] & later
    # True by itself would be a tensor on the host, copied while work is captured.
    state.said[slots, tokens] = torch.ones_like(tokens, dtype=torch.bool)
    state.numbers[slots, Number.LAST] = tokens
    # Nobody's slot stays where it is: it has no room.
    onward = (slots != state.nobodys).long()
    state.numbers[slots, Number.POSITION] += onward
    state.numbers[slots, Number.STEP] += onward
