"""What work costs on one H100, from a trace: where estimates begin before anything was measured here.

Seconds that a lane takes by itself, with what the host does around them. Speech tokens at position 300; decodes for a
prompt of 10 s and what the usual chunk sees after it (690 frames), fp16, ten guided steps or Turbo's two without
guidance; sound of a chunk of 2.7 s with its watermark. While both lanes worked, with up to 48 sessions and chunks of
1.2 s (556 frames): bursts of 8 tokens for 4 to 9 segments took 8.2 to 10.7 ms, a prompt 8.3, an encoder's run 3.7 (for
two chunks 5.2), a step for four 5.2 and for eight 8.3, sound of four 24. What a lane takes alone and for longer chunks
is estimated from that, as are sizes that did not occur: Turbo's steps, and 32 segments.
"""

from typing import Final

from tts_service.scheduling.costs import Figures
from tts_service.scheduling.work import Work

H100_ENGLISH: Final = Figures(
    curves={
        Work.PROMPT: ((1, 0.006_5),),
        Work.TOKEN: ((2, 0.000_9), (16, 0.001_05), (64, 0.001_5)),
        Work.ENCODE: ((1, 0.003_4), (4, 0.008_6), (8, 0.015_2)),
        Work.SOLVE: ((1, 0.002_7), (4, 0.004_8), (8, 0.008_4)),
        Work.SOUND: ((1, 0.010_5), (4, 0.031), (8, 0.058)),
    },
    solver_steps=10,
    rows=2,
    contention=5 / 4,
)

H100_TURBO: Final = Figures(
    curves={
        Work.PROMPT: ((1, 0.005_5),),
        Work.TOKEN: ((1, 0.000_65), (8, 0.000_9), (32, 0.001_2)),
        Work.ENCODE: ((1, 0.003_4), (4, 0.008_6), (8, 0.015_2)),
        Work.SOLVE: ((1, 0.001_35), (4, 0.002_95), (8, 0.005_3)),
        Work.SOUND: ((1, 0.010_5), (4, 0.031), (8, 0.058)),
    },
    solver_steps=2,
    rows=1,
    contention=5 / 4,
)
"""A meanflow's solver has one row a stream instead of two: of a step, half as much above the cost of a launch."""
