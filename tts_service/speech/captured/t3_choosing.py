"""Launches the kernels that choose tokens; equal to `t3_choice.choose` to rounding."""

from typing import Final

import torch
import triton

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.alignment_guard import RULED
from tts_service.speech.captured.t3_choice_kernels import keep, pick, weigh
from tts_service.speech.captured.t3_state import BURST_TOKENS, FORCED, Batch
from tts_service.speech.captured.t3_weights import T3Weights
from tts_service.speech.random_source import CHOICE_BITS, SIGNED_MIXERS

_CHUNK: Final = 1024
_WARPS: Final = 16
_MIXING: Final = {**dict(zip(("golden", "mix_1", "mix_2"), SIGNED_MIXERS, strict=True)), "choice_bits": CHOICE_BITS}


def choose(weights: T3Weights, logits: torch.Tensor, batch: Batch, model: ChatterboxModel, *, ordered: bool) -> None:
    """Choose a token for each slot from the rows' logits (rows, vocabulary), float32, and write it into the state.

    `ordered` says that some slot's settings need tokens in the order of their odds.
    """
    slots, vocabulary = len(batch.partners), logits.shape[1]
    peaks = torch.empty(slots, triton.cdiv(vocabulary, _CHUNK), dtype=torch.float32, device=logits.device)
    weighed, noisy, ranked = torch.empty(3, slots, vocabulary, dtype=torch.float32, device=logits.device)
    is_turbo, is_guarded = model is ChatterboxModel.TURBO, bool(weights.watched)
    weigh[peaks.shape](
        logits,
        *_held(batch),
        batch.partners,
        weighed,
        noisy,
        ranked,
        peaks,
        vocabulary,
        peaks.shape[1],
        weights.stop_token,
        **_MIXING,
        penalty_last=is_turbo,
        is_guarded=is_guarded,
        ruled=RULED,
        ordered=ordered,
        block=_CHUNK,
    )
    block = triton.next_power_of_2(vocabulary)
    if ordered:
        keep[(slots,)](batch.rows, batch.state.settings, ranked, noisy, vocabulary, block=block, num_warps=_WARPS)
    pick[(slots,)](
        *_held(batch),
        weighed,
        noisy,
        peaks,
        batch.state.burst,
        vocabulary,
        peaks.shape[1],
        batch.state.nobodys,
        weights.start_token,
        forgets=is_turbo,
        is_guarded=is_guarded,
        forced_mark=FORCED,
        burst_tokens=BURST_TOKENS,
        block=block,
        chunk_block=triton.next_power_of_2(peaks.shape[1]),
        num_warps=_WARPS,
    )


def _held(batch: Batch) -> tuple[torch.Tensor, ...]:
    """Return what both kernels read of the slots."""
    state = batch.state
    return batch.rows, state.numbers, state.settings, state.said.view(torch.uint8), state.rules
