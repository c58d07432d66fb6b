"""What the issue asks of a service under load, one measurement each; each gives rows and what they were made from."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from benchmarks import paced_sessions
from benchmarks.gpu_rows import Row
from benchmarks.load.bisection import Search
from benchmarks.load.capacity import Probe, find_capacity, steady
from benchmarks.load.load_run import Plan, Ran, Tell, run_load
from benchmarks.load.manner import FOREVER
from benchmarks.load.rows import family, row
from benchmarks.load.served import Asked, Served, served

BESIDE: Final = 32
PLACES: Final = 32
"""Of a service that is to be full."""

THINK_SECONDS: Final = 2.0
"""Between utterances, on average, drawn from an exponential distribution: arrivals are then spread at random."""

LONG_WORDS: Final = 60.0
"""Of a text that is read offline."""

REJECTED_PER_SECOND: Final = 20.0
PACED_SESSIONS: Final = 50
PACED_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What every measurement needs: a service to ask, how long, and whom to tell."""

    asked: Asked
    plan: Plan
    search: Search
    tell: Tell
    told_probe: Callable[[Probe], None]
    told_run: Callable[[str, Ran], None]

    async def ran(self, name: str, service: Served, **changes: Any) -> Ran:
        """Run the plan with some changes, and tell what came of it."""
        ran = await run_load(service, replace(self.plan, **changes), tell=self.tell)
        self.told_run(name, ran)
        return ran


Measured = tuple[dict[str, Row], dict[str, Any]]


async def capacity(desk: Desk, service: Served) -> Measured:
    """Find how many sessions stay in real time."""
    plan = replace(desk.plan, manner=steady(desk.plan.manner))
    search, probes = await find_capacity(service, plan, desk.search, tell=desk.tell, told=desk.told_probe)
    failed = "none failed" if search.fails is None else f"{search.fails} did not"
    words = f"{failed}; {plan.seconds:g} s a probe, all speak all the time"
    rows = dict([row(f"sessions_{family(service.model)}", search.works, words)])
    return rows, {"probes": [probe.fields() for probe in probes]}


async def first_audio(desk: Desk, service: Served) -> Measured:
    """Measure first audio at 32 sessions beside one alone, arrivals spread at random."""
    manner = replace(desk.plan.manner, turns=FOREVER, think_seconds=THINK_SECONDS, barge_in_share=0.0)
    alone = await desk.ran("one session alone", service, sessions=1, within_seconds=0.0, manner=manner)
    many = await desk.ran(f"{BESIDE} sessions", service, sessions=BESIDE, manner=manner)
    one, among = alone.tally.first_audio.figures(), many.tally.first_audio.figures()
    spread = (
        f"p50 {among.p50_ms:.0f}, p99 {among.p99_ms:.0f} ms of {among.count}; {many.tally.underrun.count} underruns"
    )
    both = f"p50 {among.p50_ms:.0f} ms against {one.p50_ms:.0f} alone, of {one.count}"
    ratio = among.p50_ms / one.p50_ms if one.p50_ms else 0.0
    rows = dict([row("first_audio_p95_ms_32", among.p95_ms, spread), row("first_audio_ratio_32", ratio, both)])
    return rows, {"alone": alone.tally.fields(), "among": many.tally.fields()}


async def throughput(desk: Desk, service: Served) -> Measured:
    """Measure how much faster than speech whole texts are read, nobody else being there."""
    manner = replace(desk.plan.manner, words=LONG_WORDS, is_paced=False)
    ran = await desk.ran("bulk", service, sessions=0, readers=desk.plan.readers or BESIDE, manner=manner)
    words = f"{ran.plan.readers} readers, {ran.tally.counts['bulk texts']} texts of about {LONG_WORDS:.0f} words"
    name = f"throughput_x_{family(service.model)}"
    return dict([row(name, ran.bulk_times_real_time, words)]), {"tally": ran.tally.fields()}


async def rejects(desk: Desk, service: Served) -> Measured:
    """Measure how soon a service that is full says so: its places speak, and others come all the time."""
    manner = replace(steady(desk.plan.manner), think_seconds=0.1)
    rate = REJECTED_PER_SECOND
    ran = await desk.ran("a full service", service, sessions=PLACES, rate_per_second=rate, manner=manner)
    figures = ran.tally.reject.figures()
    without = ran.tally.counts["rejects without RetryInfo"]
    words = f"p50 {figures.p50_ms:.1f} ms of {figures.count}, {without} without RetryInfo"
    return dict([row("reject_ms", figures.p99_ms, words)]), {"tally": ran.tally.fields()}


async def chunks(desk: Desk) -> Measured:
    """Measure what gRPC, pacing and coding cost a chunk, with prepared audio: a server of its own, no model."""
    del desk
    found = await paced_sessions.measure(PACED_SESSIONS, PACED_SECONDS)
    words = f"p50 {found['p50_ms']:.2f} ms of {found['count']}, {found['server_cores']:.2f} cores"
    return dict([row("chunk_p99_ms_50", found["p99_ms"], words)]), found


ON_ONE_SERVICE: Final[Mapping[str, Callable[[Desk, Served], Awaitable[Measured]]]] = {
    "capacity": capacity,
    "first-audio": first_audio,
    "throughput": throughput,
}
NAMES: Final = (*ON_ONE_SERVICE, "rejects", "chunks")


async def measured(desk: Desk, names: list[str]) -> Measured:
    """Take some measurements; a service that is to be full is started anew with few places."""
    rows: dict[str, Row] = {}
    found: dict[str, Any] = {}

    def keep(name: str, taken: Measured) -> None:
        rows.update(taken[0])
        found[name] = taken[1]

    wanted = [name for name in names if name in ON_ONE_SERVICE]
    if wanted:
        async with served(desk.asked) as service:
            for name in wanted:
                keep(name, await ON_ONE_SERVICE[name](spoken_by(desk, service), service))
            found["model"] = service.model
    if "rejects" in names:
        async with served(replace(desk.asked, sessions_most=PLACES)) as service:
            keep("rejects", await rejects(spoken_by(desk, service), service))
    if "chunks" in names:
        keep("chunks", await chunks(desk))
    return rows, found


def spoken_by(desk: Desk, service: Served) -> Desk:
    """Return the desk with the model and the voice that a service speaks with."""
    manner = replace(desk.plan.manner, model=service.model, voice=service.voice)
    return replace(desk, plan=replace(desk.plan, manner=manner))
