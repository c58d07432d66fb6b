"""Weights that stay where they are: what would move, cast or replace them says so instead.

An arena's tensors are views of addresses that CUDA graphs know, and what is written to them is gone with the next
eviction. So `.to()`, `.half()`, `.cuda()` and the like, and `load_state_dict`, which would quietly undo that, are
refused, on a module and on all of its parts.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any, NoReturn

import torch

from tts_service.residency.module_tensors import torch_modules

REFUSED = ("_apply", "load_state_dict")
"""What torch's methods that move or cast a module all go through, and what fills it."""


class FixedWeightsError(RuntimeError):
    """Somebody wanted to move, cast or replace weights that are in an arena."""


def fix_weights(name: str, module: object) -> None:
    """Let a module's weights stay as they are for the rest of its life."""
    refuse = _refusal(name)
    for each in torch_modules(module):
        for part in each.modules():
            # An activation without weights may be one object in many networks (a default argument): it stays as it is.
            if _has_tensors(part):
                # On the object, before its class: modules of torch's classes that are in no arena are as ever.
                vars(part).update(dict.fromkeys(REFUSED, refuse))


def _has_tensors(part: torch.nn.Module) -> bool:
    return next(chain(part.parameters(), part.buffers()), None) is not None


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(*arguments: Any, **named: Any) -> NoReturn:
        del arguments, named
        raise FixedWeightsError(
            f"{name} lives in an arena: its weights are not moved, cast or loaded again (.to(), .half(), "
            "load_state_dict() and the like); do that before it is first restored"
        )

    return refuse
