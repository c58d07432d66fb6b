"""What work costs on one H100: where estimates begin before anything was measured here.

Seconds that a lane takes by itself, with what the host does around them. Measured one kind of work at a time: decodes
for a prompt of 10 s and what the usual chunk sees after it (560 to 730 frames, taken as 690; fp16, ten guided steps, or
Turbo's two without guidance), waveforms of 96 to 150 frames and marks of a second each, both taken as a chunk of 2.7 s
with its watermark. Measured while 54 sessions spoke: a prompt 4.3 ms by itself, 6.1 on the average; bursts of 8 tokens
for 1 segment 7.4, for 4 to 8 segments 9.6; an encoder's run for two chunks 3.6 and for four 7.6; steps for two 3.3 and
for four 4.5; sound of two 13, of four 23. More than 8 together did not occur: what they cost is estimated. While 150
Turbo sessions spoke: bursts of 8 tokens 9.7 for 8 segments and 9.3 for 32, prompts 6.0.
"""

from typing import Final

from tts_service.scheduling.costs import Figures
from tts_service.scheduling.work import Work

_PROMPT: Final = ((1, 0.005_2),)
_ENCODE: Final = ((1, 0.002_2), (2, 0.003_2), (4, 0.006), (8, 0.011))
_SOUND: Final = ((1, 0.007_6), (2, 0.012_8), (4, 0.022_4), (8, 0.043))

H100_ENGLISH: Final = Figures(
    curves={
        Work.PROMPT: _PROMPT,
        Work.TOKEN: ((2, 0.000_9), (16, 0.001_05), (64, 0.001_5)),
        Work.ENCODE: _ENCODE,
        Work.SOLVE: ((1, 0.003_05), (2, 0.003_2), (4, 0.005_1), (8, 0.009)),
        Work.SOUND: _SOUND,
    },
    solver_steps=10,
    rows=2,
    contention=5 / 4,
)

H100_TURBO: Final = Figures(
    curves={
        Work.PROMPT: _PROMPT,
        Work.TOKEN: ((1, 0.000_65), (8, 0.000_95), (32, 0.001_05)),
        Work.ENCODE: _ENCODE,
        Work.SOLVE: ((1, 0.002_3), (2, 0.002_45), (4, 0.003_2), (8, 0.005_1)),
        Work.SOUND: _SOUND,
    },
    solver_steps=2,
    rows=1,
    contention=5 / 4,
)
"""A meanflow's solver has one row a stream instead of two."""
