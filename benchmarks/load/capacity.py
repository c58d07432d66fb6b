"""How many sessions stay in real time: the largest number without an underrun, found by bisection."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from benchmarks.load.bisection import Search
from benchmarks.load.load_run import Plan, Ran, Tell, run_load
from benchmarks.load.manner import FOREVER, Manner
from benchmarks.load.served import Served
from benchmarks.load.tally import Tally

FIRST_AUDIO_MOST_SECONDS: Final = 2.0
"""Nobody calls it a conversation beyond this, however smoothly it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One number of sessions that was tried. `why` is empty if it stayed real time."""

    sessions: int
    seconds: float
    why: str
    ran: Ran

    @property
    def works(self) -> bool:
        """Whether that many stayed real time."""
        return not self.why

    def fields(self) -> dict[str, Any]:
        """Return the figures, for JSON."""
        tally = self.ran.tally
        return {
            "sessions": self.sessions,
            "works": self.works,
            "why": self.why,
            "seconds": round(self.seconds, 1),
            "first_audio": tally.first_audio.figures().fields(),
            "underruns": tally.underrun.count,
            "underrun_max_ms": round(1e3 * tally.underrun.max_seconds, 1),
            "rejects": dict(tally.rejects),
            "processes": self.ran.processes,
        }


def steady(manner: Manner) -> Manner:
    """Return the manner of a session that speaks all the time: heard out, and on with the next utterance at once."""
    return replace(manner, turns=FOREVER, think_seconds=0.0, barge_in_share=0.0)


def shortfall(tally: Tally, sessions: int) -> str:
    """Return why a run was not real time for so many sessions; empty if it was."""
    if tally.rejects:
        return f"rejected: {', '.join(sorted(tally.rejects))}"
    if tally.failures:
        return f"failed: {', '.join(sorted(tally.failures))}"
    if tally.refusals:
        return f"refused in mid-session: {', '.join(sorted(tally.refusals))}"
    if tally.findings:
        return f"{len(tally.findings)} x what must never be, such as: {tally.findings[0]}"
    if tally.underrun.count:
        at = max((each["offset_seconds"] for each in tally.underruns), default=0.0)
        longest_ms = 1e3 * tally.underrun.max_seconds
        return f"{tally.underrun.count} underruns, {longest_ms:.0f} ms at most, in the first {at:.2f} s of an utterance"
    if tally.most_open < sessions:
        return f"only {tally.most_open} began"
    first_audio_seconds = tally.first_audio.percentile(0.95)
    if not tally.first_audio.count or first_audio_seconds > FIRST_AUDIO_MOST_SECONDS:
        return f"first audio p95 {first_audio_seconds:.1f} s"
    return ""


async def find_capacity(
    served: Served, plan: Plan, search: Search, *, tell: Tell, told: Callable[[Probe], None]
) -> tuple[Search, list[Probe]]:
    """Probe numbers of sessions until the largest that works is known. A probe ends with its first underrun."""
    probes: list[Probe] = []
    while (number := search.next) is not None:
        probe = await probed(served, replace(plan, sessions=number), tell)
        probes.append(probe)
        told(probe)
        search = search.told(number, works=probe.works)
    return search, probes


async def probed(served: Served, plan: Plan, tell: Tell) -> Probe:
    """Try a number of sessions, until the first underrun."""

    def stop_when(tally: Tally) -> str:
        is_lost = tally.underrun.count or tally.rejects or tally.failures
        return shortfall(tally, 0) if is_lost else ""

    ran = await run_load(served, plan, tell=tell, stop_when=stop_when)
    return Probe(sessions=plan.sessions, seconds=ran.tally.elapsed(), why=shortfall(ran.tally, plan.sessions), ran=ran)
