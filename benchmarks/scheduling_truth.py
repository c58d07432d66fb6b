"""What work really takes on the simulated device, which the scheduler has to find out.

Costs follow the figures, with what they leave out: a decode costs more the longer its segment is already (context of up
to 250 tokens is decoded again), a batch is as long as its longest chunk, half of a chunk's sound grows with its length,
measurements scatter, and now and then one takes four times as long.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tts_service.scheduling.costs import Figures, on_curve
from tts_service.scheduling.work import Work
from tts_service.speech.mel_flow import FRAMES_PER_TOKEN

PROMPT_TOKENS, CONTEXT_TOKENS, USUAL_TOKENS = 250, 250, 345
"""A voice of 10 s; what is decoded again; and the length that the figures are for (690 frames)."""
SOUNDING_TOKENS, GROWING_SHARE = 67, 0.69
"""What the figures for sound are for, and how much of it grows with the tokens."""
SCATTER, ODD_SHARE, ODD_TIMES = 0.05, 0.001, 4.0


@dataclass(slots=True, kw_only=True)
class Truth:
    """A device."""

    figures: Figures
    random: random.Random
    grows_with_length: bool = True

    def seconds(self, work: Work, size: int, lengths: Sequence[int] = ()) -> float:
        """Return what work takes alone; `lengths` are the tokens of each chunk, and of its context if it is decoded."""
        curve = self.figures.curves[work]
        if work in {Work.ENCODE, Work.SOLVE} and self.grows_with_length and lengths:
            seconds = self._long(work, size, max(lengths))
        elif work is Work.SOUND and self.grows_with_length and lengths:
            longer = sum(lengths) / len(lengths) / SOUNDING_TOKENS - 1.0
            seconds = on_curve(curve, size) * (1.0 + GROWING_SHARE * longer)
        else:
            seconds = on_curve(curve, size)
        odd = ODD_TIMES if self.random.random() < ODD_SHARE else 1.0
        return seconds * odd * max(0.5, self.random.gauss(1.0, SCATTER))

    def _long(self, work: Work, size: int, tokens: int) -> float:
        """Return the time for so many chunks of a length: what is for each grows, what is for all does not."""
        curve = self.figures.curves[work]
        one, eight = on_curve(curve, 1), on_curve(curve, 8)
        each = (eight - one) / 7
        return one - each + each * size * _length_cost(PROMPT_TOKENS + tokens) / _length_cost(USUAL_TOKENS)


def _length_cost(tokens: int) -> float:
    """Return what a decode of a length costs, in some unit: a frame's share rises by 45 % over 1,000 frames."""
    frames = FRAMES_PER_TOKEN * tokens
    return frames * (1.0 + 0.45 * max(0.0, frames / 1_000 - 0.556))
