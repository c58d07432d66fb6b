"""How many decodes have a place at once, and the shapes in which steps of several are captured. Pure.

Rules
* A step is captured for so many streams and so many frames; what takes part is padded to both. A decode by itself has
  all lengths, those that it would have without neighbours among them, so that it has the same bits with a place.
* Each graph costs the device memory for life, and start-up time. So several streams have few lengths: one for first
  chunks after a prompt of 10 s, some in between, and the longest that a chunk after all context may have.
* What is longer (a whole segment at once) has shapes of its own, by itself: from 5,000 rows of frames on, a step takes
  as long as its frames do, and neighbours would save little.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tts_service.speech.captured.flow_buckets import USUAL_FRAMES
from tts_service.speech.mel_flow import FRAMES_PER_TOKEN

MOST_CHUNK_FRAMES: Final = USUAL_FRAMES[-1]
"""A prompt of 10 s, all the context that a decode sees, 3.8 s that are new, what is held back, and what ends a
segment."""

MOST_SEGMENT_FRAMES: Final = 2560
"""A prompt of 10 s and the longest segment, 1,000 tokens, whole."""


@dataclass(frozen=True, slots=True)
class StepShape:
    """A step of so many streams, padded to so many frames."""

    streams: int
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowShapes:
    """`places` decodes may be on their way; `lone_frames` are lengths for one alone, `shared_frames` for several.

    Without `lone_steps`, who is left alone takes a step of the smallest shape for several.
    """

    places: int
    lone_frames: tuple[int, ...]
    shared_frames: tuple[int, ...] = ()
    streams: tuple[int, ...] = ()
    lone_steps: bool = True

    def __post_init__(self) -> None:
        for each in (self.lone_frames, self.shared_frames, self.streams):
            assert list(each) == sorted(set(each))
        assert all(each % FRAMES_PER_TOKEN == 0 for each in (*self.lone_frames, *self.shared_frames))
        assert all(each > 1 for each in self.streams)
        assert not self.shared_frames or self.shared_frames[-1] >= self.most_frames
        assert bool(self.shared_frames) == bool(self.streams)
        assert self.lone_steps or self.streams

    @property
    def most_frames(self) -> int:
        """The longest decode that has a place."""
        return self.lone_frames[-1]

    @property
    def most_streams(self) -> int:
        """How many take a step together at most."""
        return self.streams[-1] if self.streams else 1

    def steps(self) -> list[StepShape]:
        """Return the shapes of all steps, the largest first: what one leaves in the pool holds those that follow."""
        shared = [StepShape(streams, frames) for streams in self.streams for frames in self.shared_frames]
        made = [*shared, *(StepShape(1, frames) for frames in self.lone_frames if self.lone_steps)]
        return sorted(made, key=lambda each: (each.streams * each.frames, each.streams), reverse=True)

    def step_of(self, lengths: Iterable[int]) -> StepShape:
        """Return the smallest shape that holds decodes of these lengths."""
        held = sorted(lengths)
        assert 1 <= len(held) <= self.most_streams
        if len(held) == 1 and self.lone_steps:
            return StepShape(1, shortest(self.lone_frames, held[0]))
        return StepShape(shortest(self.streams, len(held)), shortest(self.shared_frames, held[-1]))


def shortest(sizes: tuple[int, ...], size: int) -> int:
    """Return the smallest of sizes, in order, that is not below this one, which one of them is."""
    return next(each for each in sizes if each >= size)


USUAL_SHAPES: Final = FlowShapes(
    places=16,
    lone_frames=USUAL_FRAMES,
    shared_frames=(576, 896, MOST_CHUNK_FRAMES),
    streams=(2, 4, 8),
)
"""Chunks, and most whole segments: up to 14 s after a prompt of 10."""

COMPANY_FRAMES: Final = (576, 656, 768, 992, MOST_CHUNK_FRAMES)
"""A first chunk, and all of segments of 3 and 5 s, which are decoded in one or two, and of 9.6 s, in two or three: what
is padded is computed, so usual lengths are close by."""

COMPANY_SHAPES: Final = FlowShapes(
    places=16, lone_frames=COMPANY_FRAMES, shared_frames=COMPANY_FRAMES, streams=(2, 4, 8), lone_steps=False
)
"""For decodes that have company, beside a stage for one: all of them in memory that leaves with the company."""

LONG_SHAPES: Final = FlowShapes(places=2, lone_frames=(1792, MOST_SEGMENT_FRAMES))
"""Whole segments that are longer, one after the other; while one takes its steps, the next may be begun."""
