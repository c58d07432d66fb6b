"""What work costs on one H100, as measured: where estimates begin before anything was measured here.

Speech tokens at position 300; the flow for a prompt of 10 s (556 frames), fp16, ten guided steps or Turbo's two without
guidance; decodes of several streams from the networks' measured ratio (eight cost three times one). Lanes that run side
by side take a third longer each.
"""

from typing import Final

from tts_service.scheduling.costs import Figures
from tts_service.scheduling.work import Work

H100_ENGLISH: Final = Figures(
    curves={
        Work.PROMPT: ((1, 0.005),),
        Work.TOKEN: ((2, 0.001_04), (8, 0.001_38), (32, 0.001_79), (64, 0.002_41)),
        Work.ENCODE: ((1, 0.008), (8, 0.024)),
        Work.SOLVE: ((1, 0.002_5), (8, 0.007_5)),
        Work.SOUND: ((1, 0.005), (2, 0.010)),
    },
    solver_steps=10,
    rows=2,
    contention=4 / 3,
)

H100_TURBO: Final = Figures(
    curves={
        Work.PROMPT: ((1, 0.005),),
        Work.TOKEN: ((1, 0.000_52), (4, 0.000_69), (16, 0.000_9), (32, 0.001_2)),
        Work.ENCODE: ((1, 0.008), (8, 0.024)),
        Work.SOLVE: ((1, 0.001_9), (8, 0.004_6)),
        Work.SOUND: ((1, 0.005), (2, 0.010)),
    },
    solver_steps=2,
    rows=1,
    contention=4 / 3,
)
"""Half of English for tokens. A meanflow's solver has one row a stream instead of two: half as much above the cost of
a launch."""
