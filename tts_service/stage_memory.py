"""Where the stages of speech have their memory on a GPU, beside their modules' weights: two spaces that come and go."""

from typing import Final

import torch

from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.graph_memory import MOST_BYTES, ArenaGraphs, GraphRecorder, MakeRecorder
from tts_service.residency.page_arena import PageArena
from tts_service.residency.scratch_space import ScratchSpace
from tts_service.speech.captured.token_pages import PAGE_POSITIONS, KeyValuePages, PageShape
from tts_service.speech.captured_stages import StageMemory
from tts_service.types import ModuleName

SCRATCH_T3: Final = ModuleName("scratch.t3")
SCRATCH_S3GEN: Final = ModuleName("scratch.s3gen")

SEGMENT_PAGES: Final = -(-1_400 // PAGE_POSITIONS) * 2
"""Of a guided segment with the longest text and 1,000 tokens."""

READY_PAGES: Final = 8
"""256 positions of a guided segment, 60 MiB of English: most sentences. They come with the space, others as needed."""


def stage_memory(
    weights: ArenaWeights, *, recorder: MakeRecorder = GraphRecorder, most_bytes: int = MOST_BYTES
) -> tuple[StageMemory, tuple[ScratchSpace, ...]]:
    """Return the memory for one model's stages, and its spaces, which the manager is to know as modules.

    `recorder` and `most_bytes` are those of `ArenaGraphs`.
    """
    tokens, sound = weights.space(SCRATCH_T3), weights.space(SCRATCH_S3GEN)

    def pages(shape: PageShape, dtype: torch.dtype, segments: int) -> KeyValuePages:
        return PageArena(tokens, shape.dimensions, dtype=dtype, pages=segments * SEGMENT_PAGES, ready_pages=READY_PAGES)

    memory = StageMemory(
        token_graphs=ArenaGraphs(tokens, recorder=recorder, most_bytes=most_bytes),
        sound_graphs=ArenaGraphs(sound, recorder=recorder, most_bytes=most_bytes),
        pages=pages,
        token_scratch=frozenset({SCRATCH_T3}),
        sound_scratch=frozenset({SCRATCH_S3GEN}),
    )
    return memory, (tokens, sound)
