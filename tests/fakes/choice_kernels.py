"""The kernels that choose tokens in order of their odds beside torch's functions: a program, for the interpreter.

Whether kernels are interpreted is decided as they are defined, so it takes a process.
"""

import json
import sys
from dataclasses import replace
from typing import Any, Final

import torch

from tests.fakes.guard_kernels import START, VOCABULARY, weights_on
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.captured import t3_choice
from tts_service.speech.captured.graphs import EagerGraphs
from tts_service.speech.captured.t3_state import ROWS, Batch, SlotState
from tts_service.speech.sampling import default_sampling

STEPS: Final = 30
SETTINGS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"top_p": 0.5},
    {"top_p": 0.0},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 40, "top_p": 0.8},
    {"top_k": VOCABULARY + 5, "top_p": 1.0},
    {"top_k": 0, "top_p": 1.0, "temperature": 2.0},
)
"""A slot each; where one of them has an order, all are computed with it."""


def batch_on(device: torch.device, model: ChatterboxModel) -> Batch:
    """Return a slot for each of the settings, without guidance."""
    state = SlotState.on(EagerGraphs(device), slots=len(SETTINGS), vocabulary=VOCABULARY, positions=128)
    for slot, settings in enumerate(SETTINGS):
        sampling = replace(default_sampling(model), repetition_penalty=1.3, cfg_weight=0.0, **settings)
        state.begin(slot, prompt=9, text_span=(2, 5), key=7 + slot, start_token=START, sampling=sampling)
    rows = torch.arange(0, len(SETTINGS) * ROWS, ROWS, dtype=torch.int32, device=device)
    partners = torch.arange(len(SETTINGS), dtype=torch.int32, device=device)
    return Batch(state=state, pages=torch.zeros(1, device=device), rows=rows, partners=partners)


def compared(device: torch.device, model: ChatterboxModel) -> dict[str, int]:
    """Return how many chosen tokens differ over all steps, how many were chosen, and how many kinds of them."""
    from tts_service.speech.captured import t3_choosing  # noqa: PLC0415  # Triton comes with CUDA alone.

    weights = replace(weights_on(device), watched=())
    ours, plain = batch_on(device, model), batch_on(device, model)
    different, seen = 0, set()
    for step in range(STEPS):
        logits = 2 * torch.randn(len(SETTINGS), VOCABULARY, generator=torch.Generator().manual_seed(step)).to(device)
        logits[:, :20] += 5
        t3_choosing.choose(weights, logits, ours, model, ordered=True)
        t3_choice.choose(weights, logits, plain, model, ordered=True)
        one, other = (each.state.numbers[: len(SETTINGS)] for each in (ours, plain))
        different += int((one != other).any(dim=1).sum())
        seen |= set(one[:, 2].tolist())
    different += int((ours.state.said[: len(SETTINGS)] != plain.state.said[: len(SETTINGS)]).sum())
    return {"different": different, "chosen": STEPS * len(SETTINGS), "kinds": len(seen)}


def all_compared(device: torch.device) -> dict[str, dict[str, int]]:
    """Return the same of the two orders of operations that models have."""
    return {str(model): compared(device, model) for model in (ChatterboxModel.ENGLISH, ChatterboxModel.TURBO)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(all_compared(torch.device("cpu"))))
