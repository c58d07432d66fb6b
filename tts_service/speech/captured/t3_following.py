"""Launches the kernels of Multilingual's alignment guard; equal to `t3_guard` to rounding."""

import math
from typing import Final

import torch
import triton

from tts_service.speech.alignment_guard import (
    BACKWARD,
    FORWARD,
    MAX_REPETITION,
    MAX_TAIL,
    RECENT_TOKENS,
    TAIL_TOKENS,
)
from tts_service.speech.captured.t3_arithmetic import Watched
from tts_service.speech.captured.t3_guard_kernels import follow, watch
from tts_service.speech.captured.t3_state import Batch
from tts_service.speech.captured.t3_weights import T3Weights
from tts_service.speech.captured.token_pages import PAGE_POSITIONS

_POSITIONS: Final = 128
"""Looked at at once."""

_WARPS: Final = 8


def follow_text(weights: T3Weights, watched: Watched, batch: Batch) -> None:
    """Look where in its text each slot is; remember and decide."""
    state, pages, queries = batch.state, batch.pages, watched.queries
    heads, slots, head_channels = queries.shape
    width, columns = state.tables.shape[1] * PAGE_POSITIONS, state.followed.shape[1]
    scores = torch.empty(slots, heads, width, dtype=torch.float32, device=queries.device)
    peaks, totals = torch.empty(2, slots, heads, dtype=torch.float32, device=queries.device)
    starts = [layer * pages.stride(1) + head * pages.stride(3) for layer, head in weights.watched]
    watch[(slots, heads)](
        queries,
        queries if watched.rotation is None else watched.rotation,
        batch.rows,
        state.numbers,
        state.tables,
        pages,
        state.followed,
        scores,
        peaks,
        totals,
        slots,
        state.tables.shape[1],
        pages.stride(0),
        *starts,
        head_channels**-0.5 / math.log(2),
        width,
        followed_columns=columns,
        head_channels=head_channels,
        page_positions=PAGE_POSITIONS,
        block=_POSITIONS,
        rotated=watched.rotation is not None,
        num_warps=_WARPS,
    )
    follow[(slots,)](
        batch.rows,
        state.numbers,
        state.followed,
        state.rules,
        scores,
        peaks,
        totals,
        width,
        followed_columns=columns,
        backward=BACKWARD,
        forward=FORWARD,
        tail_tokens=TAIL_TOKENS,
        recent_tokens=RECENT_TOKENS,
        max_tail=MAX_TAIL,
        max_repetition=MAX_REPETITION,
        block=triton.next_power_of_2(width),
        num_warps=_WARPS,
    )
