"""The windows for which the vocoder is captured, and which of them go together. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FRAME_BUCKETS: Final = (24, 48, 72, 96, 120, 152, 200)
"""Windows of the usual schedule have 22, 46, 72, 90, 116 and 136 frames, and up to 148 at a segment's end; pieces of
three seconds have up to 186."""


@dataclass(frozen=True, slots=True)
class WindowShape:
    """So many windows at once, padded to so many frames."""

    windows: int
    frames: int


SHARED_SHAPES: Final = tuple(
    WindowShape(*each)
    for each in (
        *((4, 200), (2, 200), (4, 152), (2, 152)),
        *((8, 96), (4, 96), (2, 96), (8, 32), (4, 32), (2, 32)),
    )
)
"""First chunks have 22 to 30 frames, second ones up to 150. Up to 800 frames: a frame takes about 0.3 MiB while its
window is computed, and 0.55 GFLOP in fp32, so that 800 fill an H100 for 7 ms at its best. More at once would only be
more memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VocoderShapes:
    """`lone` lengths for one window, and shapes for several."""

    lone: tuple[int, ...]
    shared: tuple[WindowShape, ...]

    def all(self) -> list[WindowShape]:
        """Return every shape, the largest first: what one leaves in the pool holds those that follow."""
        shapes = [*self.shared, *(WindowShape(1, each) for each in self.lone)]
        return sorted(shapes, key=lambda each: (each.windows * each.frames, each.windows), reverse=True)

    def lone_shape(self, frames: int) -> WindowShape | None:
        """Return the shortest shape of one window that holds so many frames, if any does."""
        return next((WindowShape(1, each) for each in self.lone if each >= frames), None)

    def batches(self, frames: Sequence[int]) -> list[tuple[WindowShape, list[int]]]:
        """Return which windows go together, by their numbers, and in which shape; each is short enough for one alone.

        Windows of about the same length go together, as many as a shape of that length takes; who is left goes alone.
        """
        left = sorted(range(len(frames)), key=lambda number: frames[number])
        batches = list[tuple[WindowShape, list[int]]]()
        while left:
            shape, count = self._first_batch([frames[number] for number in left])
            batches.append((shape, left[:count]))
            left = left[count:]
        return batches

    def _first_batch(self, frames: list[int]) -> tuple[WindowShape, int]:
        """Return how many of the shortest windows, in order, go together first, and in which shape."""
        length = min((each.frames for each in self.shared if each.frames >= frames[0]), default=0)
        likely = sum(each <= length for each in frames)
        shapes = sorted((each for each in self.shared if each.frames == length), key=lambda each: each.windows)
        if likely > 1 and shapes:
            shape = next((each for each in shapes if each.windows >= likely), shapes[-1])
            return shape, min(likely, shape.windows)
        lone = self.lone_shape(frames[0])
        assert lone is not None
        return lone, 1
