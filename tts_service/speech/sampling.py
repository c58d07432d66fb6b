"""How a speech token is chosen from logits: the settings, and upstream's order of operations.

Rules
* English and Multilingual: guidance, (alignment guard), repetition penalty, temperature, min-p, top-p.
* Turbo: temperature, top-k, top-p, repetition penalty last, so that it changes the odds among what was kept.
* Each operation gives what transformers' logits processor of the same name gives. Settings that change nothing cost
  nothing.
* Their limits are those of every request, `session_config.SETTING_RANGES`.
* What a model has not cannot be asked of it: upstream ignores it with a line in the log, here it is an error.
"""

import math
from dataclasses import dataclass, fields
from typing import Final, assert_never

import torch

from tts_service.errors import bad_config
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.session_config import MAX_SEGMENT_TOKENS, SETTING_RANGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """A request's settings, by their names on the wire; values of the request, never of the voice or the network.

    `temperature` flattens (above 1) or sharpens; `top_p`, `min_p` and `top_k` (0: off) keep what is likely;
    `repetition_penalty` (1: off) makes tokens that were said less likely; `cfg_weight` is how far guidance leads away
    from speech without text (0: none, at half the cost); `exaggeration` is how lively the voice is, 0.5 neutral.
    """

    temperature: float = 0.8
    top_p: float = 1.0
    min_p: float = 0.05
    top_k: int = 0
    repetition_penalty: float = 1.2
    cfg_weight: float = 0.5
    exaggeration: float = 0.5
    max_segment_tokens: int = MAX_SEGMENT_TOKENS


_DEFAULTS: Final = {
    ChatterboxModel.ENGLISH: Sampling(),
    ChatterboxModel.MULTILINGUAL: Sampling(repetition_penalty=2.0),
    ChatterboxModel.TURBO: Sampling(top_p=0.95, min_p=0.0, top_k=1_000, cfg_weight=0.0, exaggeration=0.0),
}
"""Defaults of upstream's three `generate()`."""

_WHOLE: Final = frozenset({"top_k", "max_segment_tokens"})

_MISSING: Final = {
    ChatterboxModel.ENGLISH: frozenset({"top_k"}),
    ChatterboxModel.MULTILINGUAL: frozenset({"top_k"}),
    ChatterboxModel.TURBO: frozenset({"min_p", "cfg_weight", "exaggeration"}),
}
"""What a model does not have; its default is off."""


def default_sampling(model: ChatterboxModel) -> Sampling:
    """Return the settings that upstream's `generate()` of a model has when nothing is said."""
    return _DEFAULTS[model]


def settings_of(sampling: Sampling, model: ChatterboxModel) -> dict[str, int | float]:
    """Return the settings that a model has, by name."""
    return {each.name: getattr(sampling, each.name) for each in fields(sampling) if each.name not in _MISSING[model]}


def check_sampling(sampling: Sampling, model: ChatterboxModel) -> None:
    """Raise CallerError for the first setting that is no number, out of its limits, or not the model's."""
    for setting in fields(sampling):
        name, value = setting.name, getattr(sampling, setting.name)
        low, high = SETTING_RANGES[name]
        if isinstance(value, bool) or not isinstance(value, int if name in _WHOLE else int | float):
            raise bad_config(f"sampling.{name}", f"is {value!r}, which is not a {'whole ' * (name in _WHOLE)}number")
        if not low <= value <= high:
            raise bad_config(f"sampling.{name}", f"is {value!r:.20}, must be from {low:g} to {high:g}")
        if name in _MISSING[model] and value:
            raise bad_config(f"sampling.{name}", f"is {value:g}, but the {model} model does not have it: leave it out")


def guided(logits: torch.Tensor, cfg_weight: float) -> torch.Tensor:
    """Return (vocabulary,) of (rows, vocabulary): one row as it is; of two, the first led away from the second."""
    if len(logits) == 1:
        return logits[0]
    return logits[0] + cfg_weight * (logits[0] - logits[1])


def weighed(logits: torch.Tensor, said: torch.Tensor, sampling: Sampling, model: ChatterboxModel) -> torch.Tensor:
    """Return the logits (vocabulary,) from whose softmax the token is drawn; `said` (vocabulary,) marks spoken ones."""
    match model:
        case ChatterboxModel.ENGLISH | ChatterboxModel.MULTILINGUAL:
            tempered = penalised(logits, said, sampling.repetition_penalty) / sampling.temperature
            return within_top_p(above_min_p(tempered, sampling.min_p), sampling.top_p)
        case ChatterboxModel.TURBO:
            kept = within_top_p(within_top_k(logits / sampling.temperature, sampling.top_k), sampling.top_p)
            return penalised(kept, said, sampling.repetition_penalty)
        case _:
            assert_never(model)


def penalised(logits: torch.Tensor, said: torch.Tensor, penalty: float) -> torch.Tensor:
    """Return the logits with those of marked tokens divided by the penalty, or multiplied where they are negative."""
    if penalty == 1.0:
        return logits
    return torch.where(said, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def above_min_p(logits: torch.Tensor, min_p: float) -> torch.Tensor:
    """Return the logits without tokens less likely than this share of the likeliest."""
    if min_p == 0.0:
        return logits
    likely = torch.softmax(logits, dim=-1)
    return logits.masked_fill(likely < min_p * likely.max(), -math.inf)


def within_top_p(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return the logits without the least likely tokens that together make up no more than 1 - `top_p`."""
    if top_p == 1.0:
        return logits
    ordered, places = torch.sort(logits)
    dropped = torch.softmax(ordered, dim=-1).cumsum(dim=-1) <= 1 - top_p
    dropped[-1] = False
    return logits.masked_fill(torch.zeros_like(dropped).scatter(0, places, dropped), -math.inf)


def within_top_k(logits: torch.Tensor, top_k: int) -> torch.Tensor:
    """Return the logits without tokens below the `top_k` largest."""
    if top_k == 0:
        return logits
    largest = torch.topk(logits, min(top_k, logits.shape[0])).values
    return logits.masked_fill(logits < largest[-1], -math.inf)
