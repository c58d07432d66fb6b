"""What the issue asks of a service under load, one measurement each; each gives rows and what they were made from."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from benchmarks import bare_grpc, paced_sessions, refusals
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
SPREAD_SECONDS: Final = 10.0
"""About an utterance and the silence after it: the first ones are spread like all that follow."""

LONG_WORDS: Final = 60.0
"""Of a text that is read offline."""

REJECTED_PER_SECOND: Final = 20.0
HEARD_PER_SECOND: Final = 4.0
"""Of those who are refused, so many are heard by a client with gRPC in it, which reads what they are told."""
FULL_SECONDS: Final = 4.0
"""Until all places are taken by who speaks."""
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
    beside: int = BESIDE

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
    within = min(SPREAD_SECONDS, desk.plan.seconds / 2)
    many = await desk.ran(
        f"{desk.beside} sessions", service, sessions=desk.beside, within_seconds=within, manner=manner
    )
    for ran, sessions in ((alone, 1), (many, desk.beside)):
        _check_heard(ran, sessions)
    one, among = alone.tally.first_audio.figures(), many.tally.first_audio.figures()
    spread = (
        f"p50 {among.p50_ms:.0f}, p99 {among.p99_ms:.0f} ms of {among.count}; {many.tally.underrun.count} underruns"
    )
    both = f"p50 {among.p50_ms:.0f} ms against {one.p50_ms:.0f} alone, of {one.count}"
    ratio = among.p50_ms / one.p50_ms
    rows = dict([row("first_audio_p95_ms_32", among.p95_ms, spread), row("first_audio_ratio_32", ratio, both)])
    return rows, {"alone": alone.tally.fields(), "among": many.tally.fields()}


def _check_heard(ran: Ran, sessions: int) -> None:
    """Raise unless so many sessions were in at once, all of them were heard, and nothing went wrong."""
    tally = ran.tally
    wrong = [*tally.findings[:1], *tally.rejects, *tally.failures, *tally.refusals]
    if tally.most_open < sessions:
        wrong.append(f"only {tally.most_open} of {sessions} sessions were there at once")
    if not tally.first_audio.count:
        wrong.append("nobody heard anything")
    if wrong:
        raise RuntimeError(f"first audio was not measured: {'; '.join(wrong)}")


async def throughput(desk: Desk, service: Served) -> Measured:
    """Measure how much faster than speech whole texts are read, nobody else being there."""
    manner = replace(desk.plan.manner, words=LONG_WORDS, is_paced=False)
    ran = await desk.ran("bulk", service, sessions=0, readers=desk.plan.readers or BESIDE, manner=manner)
    if wrong := [*ran.tally.findings[:1], *ran.tally.rejects, *ran.tally.failures]:
        raise RuntimeError(f"offline throughput was not measured: {'; '.join(wrong)}")
    words = f"{ran.plan.readers} readers, {ran.tally.counts['bulk texts']} texts of about {LONG_WORDS:.0f} words"
    name = f"throughput_x_{family(service.model)}"
    return dict([row(name, ran.bulk_times_real_time, words)]), {"tally": ran.tally.fields()}


async def rejects(desk: Desk, service: Served, places: int = PLACES) -> Measured:
    """Measure how soon a service that is full says so: its places speak, and others come all the time.

    The row is what `benchmarks.refusals` hears, whose client is sockets in another process. What this process hears
    with gRPC, in the event loop that listens to all who speak, is told beside it with that loop's own lateness.
    """
    manner = replace(steady(desk.plan.manner), think_seconds=0.1)
    rate, seconds = HEARD_PER_SECOND, max(desk.plan.seconds, FULL_SECONDS + 4.0)
    ran, found = await asyncio.gather(
        desk.ran(
            "a full service",
            service,
            sessions=places,
            readers=0,
            rate_per_second=rate,
            seconds=seconds,
            manner=manner,
        ),
        refusals.measure(
            service.address,
            manner.first_message(FOREVER - 1).SerializeToString(),
            rate_per_second=REJECTED_PER_SECOND,
            from_seconds=FULL_SECONDS,
            until_seconds=seconds - 2.0,
        ),
    )
    if "p99_ms" not in found:
        raise RuntimeError("the service was never full, so that nobody was refused")
    if found["ended_otherwise"]:
        raise RuntimeError(f"{found['ended_otherwise']} calls ended otherwise than refused")
    heard, late = ran.tally.reject.figures(), ran.tally.own_delay.figures()
    without = ran.tally.counts["rejects without RetryInfo"]
    words = (
        f"p50 {found['p50_ms']:.1f} ms of {found['count']}, {found['not_refused']} were not refused, "
        f"bare gRPC p99 {found['bare_grpc']['p99_ms']:.1f}; by "
        f"a client with gRPC p99 {heard.p99_ms:.1f}, whose loop was {late.p99_ms:.1f} late; "
        f"{without} without RetryInfo; load average {found['load_average']:.1f}"
    )
    return dict([row("reject_ms", found["p99_ms"], words)]), {"tally": ran.tally.fields(), "refusals": found}


async def chunks(desk: Desk) -> Measured:
    """Measure what gRPC, pacing and coding cost a chunk, with prepared audio: a server of its own, no model.

    The row is the worse of two ways: the engine beside the front end, and in a process of its own, as on a GPU.
    """
    del desk
    same = await paced_sessions.measure(PACED_SESSIONS, PACED_SECONDS)
    bare = await bare_grpc.measure(PACED_SESSIONS, PACED_SECONDS)
    own = await paced_sessions.measure(PACED_SESSIONS, PACED_SECONDS, own_process=True)
    worse = max(same, own, key=lambda found: found["p99_ms"])
    waited = worse["event_loop"]["waited_for_a_core"]
    ways = ("in the same process", same), ("in its own", own), ("bare gRPC", bare["since_due"] | bare)
    each = ", ".join(f"{name} {way['p99_ms']:.2f} and {way['since_written']['p99_ms']:.2f}" for name, way in ways)
    words = (
        f"p99 from due to heard and from written to heard, the engine {each} ms; {worse['count']} chunks, "
        f"p50 {worse['p50_ms']:.2f} ms, {worse['server_cores']:.2f} cores; for {waited:.0%} of the time the event loop "
        f"waited for a core that others had, load average {worse['load_average']:.1f}"
    )
    return dict([row("chunk_p99_ms_50", worse["p99_ms"], words)]), {"same": same, "own": own, "bare_grpc": bare}


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
