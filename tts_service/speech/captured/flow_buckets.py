"""The lengths for which the flow is captured, and which of them a decode takes."""

from dataclasses import dataclass
from typing import Final

from tts_service.speech.mel_flow import FRAMES_PER_TOKEN

USUAL_FRAMES: Final = (384, 576, 704, 896, 1216)
"""One just above a prompt of 10 s, where first chunks are, since theirs is the time that is waited for.

A step took 1.9, 2.2, 2.4, 2.7 and 3.3 ms of them (H100, English), so that a decode that is 64 frames shorter than its
length loses 1 ms of 25. With ten lengths, half as far apart, the start was 1.3 s longer, and the driver keeps device
memory for every graph for life. The largest holds that prompt, all the context that a decode sees, and nearly 4 s.
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
