"""Where the stages of speech have their memory on a GPU, beside their modules' weights: two spaces that come and go."""

from collections.abc import Callable
from functools import partial
from typing import Final

import torch

from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.graph_memory import MOST_BYTES, ArenaGraphs, GraphRecorder, MakeRecorder
from tts_service.residency.page_arena import PageArena
from tts_service.residency.scratch_space import ScratchSpace
from tts_service.speech.captured.token_pages import PAGE_POSITIONS, KeyValuePages, PageShape
from tts_service.speech.captured_stages import StageMemory
from tts_service.speech.speech_model import Lane
from tts_service.types import ModuleName
from tts_service.workers import LANE_PRIORITIES

SCRATCH_T3: Final = ModuleName("scratch.t3")
SCRATCH_S3GEN: Final = ModuleName("scratch.s3gen")

SEGMENT_PAGES: Final = -(-1_400 // PAGE_POSITIONS) * 2
"""Of a guided segment with the longest text and 1,000 tokens."""

READY_PAGES: Final = 8
"""256 positions of a guided segment, 64 MiB of English: most sentences. They come with the space, others as needed."""


def graph_recorder(lane: Lane) -> MakeRecorder:
    """Return what captures a lane's work, with the lane's priority."""
    return partial(GraphRecorder, priority=LANE_PRIORITIES[lane])


def stage_memory(
    weights: ArenaWeights, *, recorders: Callable[[Lane], MakeRecorder] = graph_recorder, most_bytes: int = MOST_BYTES
) -> tuple[StageMemory, tuple[ScratchSpace, ...]]:
    """Return the memory for one model's stages, and its spaces, which the manager is to know as modules.

    `recorders` and `most_bytes` are for `ArenaGraphs`.
    """
    tokens, sound = weights.space(SCRATCH_T3), weights.space(SCRATCH_S3GEN)

    def pages(shape: PageShape, dtype: torch.dtype, segments: int) -> KeyValuePages:
        return PageArena(tokens, shape.dimensions, dtype=dtype, pages=segments * SEGMENT_PAGES, ready_pages=READY_PAGES)

    memory = StageMemory(
        token_graphs=ArenaGraphs(tokens, recorder=recorders(Lane.TOKENS), most_bytes=most_bytes),
        sound_graphs=ArenaGraphs(sound, recorder=recorders(Lane.SOUND), most_bytes=most_bytes),
        pages=pages,
        token_scratch=frozenset({SCRATCH_T3}),
        sound_scratch=frozenset({SCRATCH_S3GEN}),
    )
    return memory, (tokens, sound)
