"""The lengths for which the flow is captured, and which of them a decode takes."""

from dataclasses import dataclass
from typing import Final

from tts_service.speech.mel_flow import FRAMES_PER_TOKEN

USUAL_FRAMES: Final = (256, 384, 512, 576, 640, 704, 768, 896, 1024, 1152)
"""Close together just above a prompt of 10 s, where first chunks are, since theirs is the time that is waited for.

A step took 2.85 ms for 544 frames and 2.87 for 576 (with products of ours, since given up),
so lengths are no closer than 64: each has graphs, for which the driver keeps device memory for life. The largest holds
that prompt, all the context that a decode sees, and three seconds that are new.
"""


@dataclass(frozen=True, slots=True)
class FlowBuckets:
    """Lengths in frames, in order; the encoder's are half as many tokens."""

    frames: tuple[int, ...] = USUAL_FRAMES

    def __post_init__(self) -> None:
        assert list(self.frames) == sorted(set(self.frames))
        assert all(each % FRAMES_PER_TOKEN == 0 for each in self.frames)

    def of_frames(self, count: int) -> int | None:
        """Return the shortest length that holds these frames; None if none does."""
        return next((each for each in self.frames if each >= count), None)
