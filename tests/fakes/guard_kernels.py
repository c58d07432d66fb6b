"""The alignment guard's and the choice's kernels beside torch's functions: a program of its own, for the interpreter.

Whether kernels are interpreted is decided as they are defined, so it takes a process.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.captured import t3_choice, t3_guard
from tts_service.speech.captured.graphs import EagerGraphs
from tts_service.speech.captured.t3_arithmetic import Watched
from tts_service.speech.captured.t3_state import ROWS, Batch, Number, SlotState
from tts_service.speech.captured.t3_weights import Linear, Norm, T3Weights
from tts_service.speech.captured.token_pages import PAGE_POSITIONS
from tts_service.speech.sampling import default_sampling

MULTILINGUAL = ChatterboxModel.MULTILINGUAL
WATCHED = ((0, 1), (1, 0), (2, 1))
SPANS = ((3, 23), (4, 8), (2, 9))
HEADS, HEAD_CHANNELS, PROMPT, STEPS = 2, 8, 30, 45
START, STOP, VOCABULARY = 1190, 1191, 1200


def weights_on(device: torch.device) -> T3Weights:
    """Return what the guard and the choice read of a network: its watched heads and its vocabulary."""
    table = torch.zeros(1, HEADS * HEAD_CHANNELS, device=device)
    return T3Weights(
        layers=(),
        final_norm=Norm(weight=table[0], bias=None, epsilon=1e-5),
        head=Linear(weights=(table,)),
        speech=table,
        places=table,
        places_by_position=False,
        frequencies=None,
        heads=HEADS,
        start_token=START,
        stop_token=STOP,
        watched=WATCHED,
    )


def batch_on(device: torch.device) -> Batch:
    """Return three slots in the middle of their speech, whose pages hold random keys."""
    state = SlotState.on(EagerGraphs(device), slots=len(SPANS), vocabulary=VOCABULARY, positions=128)
    sampling = replace(default_sampling(MULTILINGUAL), repetition_penalty=1.0)
    for slot, span in enumerate(SPANS):
        state.begin(slot, prompt=PROMPT, text_span=span, key=7 + slot, start_token=START, sampling=sampling)
        state.set_pages(slot, [[2 * slot, 2 * slot + 1]])
    generator = torch.Generator().manual_seed(5)
    shape = (2 * len(SPANS), len(WATCHED), 2, HEADS, PAGE_POSITIONS, HEAD_CHANNELS)
    rows = torch.arange(0, len(SPANS) * ROWS, ROWS, dtype=torch.int32, device=device)
    partners = torch.arange(len(SPANS), dtype=torch.int32, device=device)
    pages = torch.randn(shape, generator=generator).to(device)
    return Batch(state=state, pages=pages, rows=rows, partners=partners)


def compared(device: torch.device) -> dict[str, float]:
    """Return how far the two are apart, and how often each rule was made, over all steps."""
    from tts_service.speech.captured import t3_choosing, t3_following  # noqa: PLC0415  # See the file's head.

    weights, ours, plain = weights_on(device), batch_on(device), batch_on(device)
    found = {"followed": 0.0, "rules": 0.0, "burst": 0.0, "numbers": 0.0, "free": 0.0, "suppressed": 0.0, "forced": 0.0}

    def look(watched: Watched, batch: Batch) -> None:
        t3_guard.follow(batch, t3_guard.watch(weights, watched, batch))

    for step in range(STEPS):
        asked, logits = _asked(step, device)
        _stepped(ours, asked, lambda asked, batch: t3_following.follow_text(weights, asked, batch))
        _stepped(plain, asked, look)
        t3_choosing.choose(weights, logits, ours, MULTILINGUAL, ordered=False)
        t3_choice.choose(weights, logits, plain, MULTILINGUAL, ordered=False)
        for name in ("followed", "rules", "burst", "numbers"):
            one, other = (getattr(each.state, name)[: len(SPANS)].double() for each in (ours, plain))
            found[name] = max(found[name], float((one - other).abs().max()))
        for rule, name in enumerate(("free", "suppressed", "forced")):
            found[name] += int((plain.state.rules[: len(SPANS)] == rule).sum())
    return found


def _stepped(batch: Batch, asked: Watched, look: Callable[[Watched, Batch], None]) -> None:
    look(asked, batch)
    assert int(batch.state.numbers[0, Number.POSITION]) >= PROMPT - 1


def _asked(step: int, device: torch.device) -> tuple[Watched, torch.Tensor]:
    """Return random queries, all turned by the same angles, and logits, of which few tokens have a chance."""
    generator = torch.Generator().manual_seed(100 + step)
    queries = 4 * torch.randn(len(WATCHED), len(SPANS), HEAD_CHANNELS, generator=generator)
    angles = torch.randn(HEAD_CHANNELS // 2, generator=generator)
    rotation = torch.stack([angles.cos(), angles.sin()]).repeat(len(SPANS), 1, 1)
    logits = torch.randn(len(SPANS), VOCABULARY, generator=generator)
    logits[:, :6] += 12
    return Watched(queries=queries.to(device), rotation=rotation.to(device)), logits.to(device)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(compared(torch.device("cpu"))))
