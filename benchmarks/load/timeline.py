"""What happened when, in at most some hundred slices of a run: for the plot."""

import statistics
from dataclasses import dataclass, field
from typing import Any, Final

SLICES_MOST: Final = 400
TIMES_MOST: Final = 500
"""First audios kept of one slice."""


@dataclass(slots=True, kw_only=True)
class Slice:
    """A short part of a run."""

    open: int | None = None
    """Sessions, at most; None if none came or went."""
    left: int = 0
    """Sessions, after the last that came or went."""
    underruns: int = 0
    rejects: int = 0
    first_audio: list[float] = field(default_factory=list)


class Timeline:
    """The slices of a run of so many seconds; what comes later counts in the last one."""

    def __init__(self, *, seconds: float) -> None:
        self.slice_seconds = max(0.5, seconds / SLICES_MOST)
        self._slices = [Slice() for _ in range(int(seconds / self.slice_seconds) + 1)]

    def __repr__(self) -> str:
        return f"<Timeline {len(self._slices)} slices of {self.slice_seconds:g} s>"

    def opened(self, at_seconds: float, count: int) -> None:
        """Note how many sessions are open."""
        one = self._at(at_seconds)
        one.open = max(one.open or 0, count)
        one.left = count

    def rejected(self, at_seconds: float) -> None:
        """Note a session that was not taken."""
        self._at(at_seconds).rejects += 1

    def underrun(self, at_seconds: float) -> None:
        """Note that audio was needed before it came."""
        self._at(at_seconds).underruns += 1

    def heard(self, at_seconds: float, first_audio_seconds: float) -> None:
        """Note a first audio."""
        times = self._at(at_seconds).first_audio
        if len(times) < TIMES_MOST:
            times.append(first_audio_seconds)

    def fields(self) -> list[dict[str, Any]]:
        """Return the slices, for JSON and the plot. Where no session came or went, as many are open as before."""
        told, before = [], 0
        for number, one in enumerate(self._slices):
            is_quiet = one.open is None
            times = [1e3 * each for each in one.first_audio]
            told.append(
                {
                    "at_seconds": round(number * self.slice_seconds, 2),
                    "open": before if is_quiet else max(before, one.open or 0),
                    "underruns": one.underruns,
                    "rejects": one.rejects,
                    "first_audio_p50_ms": round(statistics.median(times), 1) if times else None,
                    "first_audio_max_ms": round(max(times), 1) if times else None,
                }
            )
            before = before if is_quiet else one.left
        return told

    def _at(self, at_seconds: float) -> Slice:
        return self._slices[min(max(0, int(at_seconds / self.slice_seconds)), len(self._slices) - 1)]
