"""Launches the kernels that choose tokens without an order of them; equal to `t3_choice.choose` to rounding."""

from typing import Final

import torch
import triton

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.alignment_guard import RULED
from tts_service.speech.captured.t3_choice_kernels import pick, weigh
from tts_service.speech.captured.t3_state import BURST_TOKENS, FORCED, Batch
from tts_service.speech.captured.t3_weights import T3Weights
from tts_service.speech.random_source import CHOICE_BITS, SIGNED_MIXERS

_CHUNK: Final = 1024
_WARPS: Final = 16


def choose(weights: T3Weights, logits: torch.Tensor, batch: Batch, model: ChatterboxModel) -> None:
    """Choose a token for each slot from the rows' logits (rows, vocabulary), float32, and write it into the state."""
    state, slots, vocabulary = batch.state, len(batch.partners), logits.shape[1]
    golden, mix_1, mix_2 = SIGNED_MIXERS
    chunks = triton.cdiv(vocabulary, _CHUNK)
    weighed, noisy = torch.empty(2, slots, vocabulary, dtype=torch.float32, device=logits.device)
    peaks = torch.empty(slots, chunks, dtype=torch.float32, device=logits.device)
    said, is_turbo, is_guarded = state.said.view(torch.uint8), model is ChatterboxModel.TURBO, bool(weights.watched)
    weigh[(slots, chunks)](
        logits,
        batch.rows,
        batch.partners,
        state.numbers,
        state.settings,
        said,
        state.rules,
        weighed,
        noisy,
        peaks,
        vocabulary,
        chunks,
        weights.stop_token,
        golden=golden,
        mix_1=mix_1,
        mix_2=mix_2,
        choice_bits=CHOICE_BITS,
        penalty_last=is_turbo,
        is_guarded=is_guarded,
        ruled=RULED,
        block=_CHUNK,
    )
    pick[(slots,)](
        batch.rows,
        state.numbers,
        state.settings,
        said,
        state.rules,
        weighed,
        noisy,
        peaks,
        state.burst,
        vocabulary,
        chunks,
        state.nobodys,
        weights.start_token,
        forgets=is_turbo,
        is_guarded=is_guarded,
        forced_mark=FORCED,
        burst_tokens=BURST_TOKENS,
        block=triton.next_power_of_2(vocabulary),
        chunk_block=triton.next_power_of_2(chunks),
        num_warps=_WARPS,
    )
