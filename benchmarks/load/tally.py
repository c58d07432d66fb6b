"""What all sessions of a run met, in memory that does not grow with the run."""

import time
from collections import Counter
from typing import Any, Final

from benchmarks.load.fairness import Shares
from benchmarks.load.heard import Heard
from benchmarks.load.histogram import Histogram
from benchmarks.load.lines import LOST
from benchmarks.load.timeline import Timeline

KEPT_MOST: Final = 1_000
"""Of single findings; more are counted only."""

WAITED_SECONDS: Final = 1.0
"""Who still waits for first audio when the run ends counts with what was waited so far, if it is more than this."""


class Tally:
    """Counts, times and findings. One event loop writes it."""

    def __init__(self, *, seconds: float) -> None:
        self.began_at = time.monotonic()
        self.counts: Counter[str] = Counter()
        self.rejects: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.first_audio = Histogram()
        self.first_audio_since_text = Histogram()
        self.chunk = Histogram()
        self.acknowledged = Histogram()
        self.reject = Histogram()
        self.late = Histogram()
        self.real_time_factor = Histogram()
        self.underrun = Histogram()
        self.starved = Histogram()
        self.stall = Histogram()
        self.own_delay = Histogram()
        self.rates = Shares()
        self.first_audios = Shares()
        self.findings: list[str] = []
        self.underruns: list[dict[str, Any]] = []
        self.timeline = Timeline(seconds=seconds)
        self.open = 0
        self.most_open = 0
        self.audio_seconds = 0.0
        self._ended_at: float | None = None

    def __repr__(self) -> str:
        return f"<Tally {self.open} open | {self.counts['utterances']} utterances {self.underrun.count} underruns>"

    def opened(self) -> None:
        """Count a session that the service took."""
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        self.counts["sessions"] += 1
        self.timeline.opened(self.elapsed(), self.open)

    def closed(self) -> None:
        """Count its end."""
        self.open -= 1
        self.timeline.opened(self.elapsed(), self.open)

    def rejected(self, reason: str, seconds: float | None, *, retry_after_seconds: float | None) -> None:
        """Count a session that the service did not take; `seconds` is None for one that was told to wait before."""
        self.rejects[reason] += 1
        if seconds is None:
            self.counts["waited in vain"] += 1
        else:
            self.reject.add(seconds)
        self.counts["rejects without RetryInfo"] += retry_after_seconds is None and reason != LOST
        self.timeline.rejected(self.elapsed())

    def finding(self, words: str) -> None:
        """Keep something that must never be."""
        self.counts["findings"] += 1
        if len(self.findings) < KEPT_MOST:
            self.findings.append(words)

    def heard(self, session: int, heard: Heard, *, late_seconds: float = 0.0) -> None:
        """Count an utterance that is over. `late_seconds`: its session began so much after its time."""
        self.counts["utterances"] += 1
        self.audio_seconds += heard.samples / heard.rate_hertz
        if heard.first_audio_seconds is not None:
            seconds = heard.first_audio_seconds + late_seconds
            self.first_audio.add(seconds)
            self.timeline.heard((heard.first_audio_at or 0.0) - self.began_at, seconds)
        elif heard.waited_seconds > WAITED_SECONDS:
            self.counts["cut off while they waited for first audio"] += 1
            self.first_audio.add(heard.waited_seconds + late_seconds)
        if heard.first_audio_since_text_seconds is not None:
            self.first_audio_since_text.add(heard.first_audio_since_text_seconds + late_seconds)
        for fault in heard.faults:
            self.finding(f"session {session}, {heard.id}: {fault}")
        self._underruns(session, heard)

    def _underruns(self, session: int, heard: Heard) -> None:
        found = heard.underruns()
        for underrun in found:
            if not underrun.is_service:
                self.starved.add(underrun.gap.seconds)
                continue
            self.underrun.add(underrun.gap.seconds)
            at_seconds = underrun.gap.dry_at - self.began_at
            self.timeline.underrun(at_seconds)
            if len(self.underruns) < KEPT_MOST:
                entry = {"session": session, "utterance": heard.id, "at_seconds": round(at_seconds, 3)}
                offset_seconds = round(underrun.gap.offset_seconds, 3)
                self.underruns.append(
                    {**entry, "offset_seconds": offset_seconds, "seconds": round(underrun.gap.seconds, 4)}
                )
        stalled_seconds = sum(each.gap.seconds for each in found if each.is_service)
        self.counts["utterances with an underrun"] += stalled_seconds > 0.0
        if stalled_seconds > 0.0:
            self.stall.add(stalled_seconds)

    def elapsed(self) -> float:
        """Return the seconds since the run began, up to its end."""
        return (self._ended_at or time.monotonic()) - self.began_at

    def end(self) -> None:
        """Note that the run is over."""
        self._ended_at = time.monotonic()

    def fields(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        times = {
            name: getattr(self, name).figures().fields()
            for name in (
                "first_audio",
                "first_audio_since_text",
                "chunk",
                "acknowledged",
                "reject",
                "late",
                "underrun",
                "starved",
                "stall",
                "own_delay",
            )
        }
        counters = {name: dict(getattr(self, name)) for name in ("counts", "rejects", "failures", "refusals", "told")}
        return {
            "seconds": round(self.elapsed(), 2),
            "most_open": self.most_open,
            "audio_seconds": round(self.audio_seconds, 2),
            **counters,
            "times": times,
            "real_time_factor": {
                name: round(self.real_time_factor.percentile(share), 4)
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
            },
            "underrun_seconds": round(self.underrun.sum_seconds, 3),
            "fairness": {"rate": round(self.rates.index, 4), "first_audio": round(self.first_audios.index, 4)},
            "findings": self.findings,
            "underruns": self.underruns,
            "timeline": self.timeline.fields(),
        }
