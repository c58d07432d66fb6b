"""What work costs on a device of round numbers, so that tests do not change with what is measured on a real one."""

from typing import Final

from tts_service.scheduling.costs import Figures
from tts_service.scheduling.work import Work

ENGLISH: Final = Figures(
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

TURBO: Final = Figures(
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
