"""Where the stages of speech have their memory on a GPU, beside their modules' weights: spaces that come and go."""

from typing import Final

import torch

from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.graph_memory import MOST_BYTES, ArenaGraphs, GraphRecorder, MakeRecorder, ServingRecorder
from tts_service.residency.locked_pages import LockedPages
from tts_service.residency.page_arena import PageArena
from tts_service.residency.scratch_space import ScratchSpace
from tts_service.speech.captured.sound_company import CompanyMemory
from tts_service.speech.captured.token_pages import PAGE_POSITIONS, KeyValuePages, PageShape
from tts_service.speech.captured_stages import StageMemory
from tts_service.types import ModuleName

SCRATCH_T3: Final = ModuleName("scratch.t3")
SCRATCH_S3GEN: Final = ModuleName("scratch.s3gen")
SCRATCH_COMPANY: Final = ModuleName("scratch.company")
"""What sound of several segments is made in: only while there are several. Nobody claims it, so it leaves first."""

COMPANY_LINGER_SECONDS: Final = 5.0
"""After which it has left. It takes some hundred MiB, and comes back in milliseconds."""

SEGMENT_PAGES: Final = -(-1_400 // PAGE_POSITIONS) * 2
"""Of a guided segment with the longest text and 1,000 tokens."""

READY_PAGES: Final = 8
"""256 positions of a guided segment, 60 MiB of English: most sentences. They come with the space, others as needed."""


def stage_memory(
    weights: ArenaWeights,
    *,
    company: bool = True,
    recorder: MakeRecorder = GraphRecorder,
    late_recorder: MakeRecorder = ServingRecorder,
    most_bytes: int = MOST_BYTES,
    waiting_bytes: int = 0,
) -> tuple[StageMemory, tuple[ScratchSpace, ...]]:
    """Return the memory for one model's stages, and its spaces, which the manager is to know as modules.

    `recorder` and `most_bytes` are those of `ArenaGraphs`; `late_recorder` is that of what may be captured while others
    speak. Without `company` nothing is made of several segments at once. `waiting_bytes` of host memory are for keys
    and values of utterances that stand still; 0 keeps them on the device.
    """
    tokens, sound = weights.space(SCRATCH_T3), weights.space(SCRATCH_S3GEN)
    several = weights.space(SCRATCH_COMPANY) if company else None

    def pages(shape: PageShape, dtype: torch.dtype, segments: int) -> KeyValuePages:
        return PageArena(tokens, shape.dimensions, dtype=dtype, pages=segments * SEGMENT_PAGES, ready_pages=READY_PAGES)

    def room(shape: PageShape, dtype: torch.dtype) -> LockedPages | None:
        if waiting_bytes:
            tokens.waiting = LockedPages(
                tokens.driver, tokens.gate, shape.dimensions, dtype=dtype, most_bytes=waiting_bytes
            )
        return tokens.waiting

    memory = StageMemory(
        token_graphs=ArenaGraphs(tokens, recorder=recorder, most_bytes=most_bytes),
        sound_graphs=ArenaGraphs(sound, recorder=recorder, most_bytes=most_bytes),
        pages=pages,
        room=room,
        token_scratch=frozenset({SCRATCH_T3}),
        sound_scratch=frozenset({SCRATCH_S3GEN}),
        company=None if several is None else _company_memory(several, late_recorder, most_bytes),
    )
    return memory, (tokens, sound) if several is None else (tokens, sound, several)


def _company_memory(space: ScratchSpace, recorder: MakeRecorder, most_bytes: int) -> CompanyMemory:
    space.linger_seconds = COMPANY_LINGER_SECONDS
    return CompanyMemory(
        graphs=ArenaGraphs(space, recorder=recorder, most_bytes=most_bytes),
        scratch=frozenset({SCRATCH_COMPANY}),
        keep=lambda count: space.account.keep(count),  # noqa: PLW0108  # The account comes with the manager.
        forget_cache=space.forget_cache,
    )
