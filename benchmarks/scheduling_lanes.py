"""The two lanes of a simulated device: work that is under way, and how it slows the other lane's down."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tts_service.scheduling.costs import Costs, observed
from tts_service.scheduling.work import Work

ROUNDING_SECONDS = 1e-9


@dataclass(slots=True, kw_only=True)
class Job:
    """What a lane does, so many times one after the other; `left` is seconds alone."""

    work: Work
    size: int
    left: float
    then: Callable[[], None]
    times: int = 1
    wall: float = 0.0
    beside: float = 0.0


class Lanes:
    """Tokens and sound. `costs` learn from what ends."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        self.jobs: list[Job | None] = [None, None]
        self.rests = [0.0, 0.0]
        """Until when a lane without work is not asked again, unless something happens."""
        self.busy_seconds = [0.0, 0.0]

    def idle(self, lane: int, now: float) -> bool:
        """Tell whether a lane is to be given work."""
        return self.jobs[lane] is None and self.rests[lane] <= now

    def next_moment(self, now: float) -> float:
        """Return when something ends here, or a rest does."""
        ends = [now + job.left / self._speed() for job in self.jobs if job is not None]
        rests = [rest for rest, job in zip(self.rests, self.jobs, strict=True) if job is None and rest > now]
        return min([*ends, *rests], default=math.inf)

    def passed(self, span: float) -> Sequence[Job]:
        """Let time pass; return what has ended, from which was learned."""
        speed, ended = self._speed(), []
        for lane, job in enumerate(self.jobs):
            if job is None:
                continue
            self.busy_seconds[lane] += span
            job.left -= span * speed
            job.wall += span
            job.beside += span if speed < 1.0 else 0.0
            if job.left <= ROUNDING_SECONDS:
                ended.append((lane, job))
        for lane, job in ended:
            self.jobs[lane] = None
            beside = min(1.0, job.beside / job.wall) if job.wall else 0.0
            self.costs = observed(self.costs, job.work, job.size, job.wall / job.times, beside=beside)
        self.rests = [0.0, 0.0]
        return [job for _, job in ended]

    def _speed(self) -> float:
        return 1.0 / self.costs.figures.contention if all(self.jobs) else 1.0

    def __repr__(self) -> str:
        return f"<Lanes {' '.join(job.work.value if job else '-' for job in self.jobs)}>"
