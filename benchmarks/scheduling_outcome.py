"""What came of a simulated run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.scheduling_sessions import Heard, Manner, SimulatedSession


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Counts of one run. Lanes are tokens and sound."""

    name: str
    seconds: float = 0.0
    asked: int = 0
    refused: int = 0
    queued: int = 0
    came_back: int = 0
    interrupted: int = 0
    most_sessions: int = 0
    heard: list[Heard] = field(default_factory=list)
    files: list[Heard] = field(default_factory=list)
    busy_seconds: list[float] = field(default_factory=lambda: [0.0, 0.0])
    bursts: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    plans: dict[str, int] = field(default_factory=dict)

    def note(self, session: SimulatedSession) -> None:
        """Take in what a session's listener heard."""
        (self.files if session.arrival.manner is Manner.FILE else self.heard).append(session.heard)

    @property
    def first_audio_seconds(self) -> list[float]:
        """All of them, in order."""
        return sorted(seconds for each in self.heard for seconds in each.first_audio_seconds)

    @property
    def underruns(self) -> int:
        """Gaps that were heard."""
        return sum(each.underruns for each in self.heard)

    @property
    def sessions_with_gaps(self) -> int:
        """Sessions that heard any."""
        return sum(each.underruns > 0 for each in self.heard)

    @property
    def stalled_share(self) -> float:
        """The part of listening time that was a gap."""
        stalled = sum(each.stalled_seconds for each in self.heard)
        total = stalled + sum(each.audio_seconds for each in self.heard)
        return stalled / total if total else 0.0

    @property
    def fairness(self) -> float:
        """Jain's index of the sessions' mean first audio: 1 if all wait for equally long."""
        means = [sum(e.first_audio_seconds) / len(e.first_audio_seconds) for e in self.heard if e.first_audio_seconds]
        return sum(means) ** 2 / (len(means) * sum(mean**2 for mean in means)) if means else 1.0

    @property
    def utilisation(self) -> tuple[float, float]:
        """The share of time in which each lane worked."""
        return self.busy_seconds[0] / self.seconds, self.busy_seconds[1] / self.seconds

    @property
    def bulk_times(self) -> float:
        """Seconds of bulk audio made a second."""
        return sum(each.audio_seconds for each in self.files) / self.seconds

    def __repr__(self) -> str:
        p50, p95 = (1000 * quantile(self.first_audio_seconds, q) for q in (0.5, 0.95))
        return f"<Outcome {self.name} | {len(self.heard)} heard | {self.underruns} gaps | {p50:.0f}, {p95:.0f} ms>"


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value that a share of these is not above; NaN if there is none."""
    if not ordered:
        return math.nan
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def mean(values: Sequence[float]) -> float:
    """Return the mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0
