"""One run of well-behaved load: sessions held or arriving, bulk beside them, watched all the while."""

import asyncio
import contextlib
import gc
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.load.alone import Bound, Comparison, spoken_alone
from benchmarks.load.arrivals import Arrivals
from benchmarks.load.bulk import Bulk
from benchmarks.load.crowd import Crowd
from benchmarks.load.lines import lines_to
from benchmarks.load.manner import Manner
from benchmarks.load.misbehaviour import MISBEHAVIOURS, Scene
from benchmarks.load.processes import ProcessWatch, watch_loop
from benchmarks.load.recordings import Recordings
from benchmarks.load.run_end import RunEnd
from benchmarks.load.served import Served
from benchmarks.load.tally import Tally

CONNECTIONS: Final = 8
"""Shared by all well-behaved sessions; behind each is one window and one thread of the service's at a time."""

Tell = Callable[[Tally, RunEnd], None]
"""Hears a few times a second how a run stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is: `sessions` held, and `rate_per_second` arriving, and `readers` of bulk; any of them may be 0."""

    seconds: float
    manner: Manner
    sessions: int = 0
    within_seconds: float = 2.0
    rate_per_second: float = 0.0
    arrivals: Arrivals = Arrivals.POISSON
    most: int = 256
    readers: int = 0
    checked: int = 0
    bound: Bound = field(default_factory=Bound)
    connections: int = CONNECTIONS
    misbehaving: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a run found."""

    plan: Plan
    tally: Tally
    why_ended: str
    bulk_times_real_time: float
    comparisons: list[Comparison]
    processes: dict[str, Any] | None

    @property
    def is_sound(self) -> bool:
        """Whether nothing happened that must never be."""
        return not self.tally.findings and all(each.is_met for each in self.comparisons)


async def run_load(served: Served, plan: Plan, *, tell: Tell, stop_when: Callable[[Tally], str] | None = None) -> Ran:
    """Run a plan to its end, or until `stop_when` gives a reason."""
    recordings = Recordings(plan.checked, random.Random(plan.manner.seed))  # noqa: S311  # A sample, no secret.
    watch = None if served.pid is None else ProcessWatch(served.pid)
    async with lines_to(served.address, connections=plan.connections) as lines:
        with _without_long_collections():
            # The clock starts with the load: connecting and tidying up may take a second of a busy machine.
            run_end, tally = RunEnd(seconds=plan.seconds), Tally(seconds=plan.seconds)
            crowd = Crowd(lines, plan.manner, tally=tally, run_end=run_end, recordings=recordings)
            bulk = Bulk(lines, plan.manner, tally=tally, run_end=run_end)
            async with beside(_watchers(tally, run_end, watch, tell, stop_when)):
                scene = _scene(served, plan, tally, run_end)
                await asyncio.gather(
                    *_parts(plan, crowd, bulk), *(MISBEHAVIOURS[name](scene) for name in plan.misbehaving)
                )
        tally.end()
        comparisons = await spoken_alone(lines, plan.manner, recordings.kept, plan.bound)
    return Ran(
        plan=plan,
        tally=tally,
        why_ended=run_end.why,
        bulk_times_real_time=bulk.times_real_time,
        comparisons=comparisons,
        processes=None if watch is None else watch.fields(),
    )


def _parts(plan: Plan, crowd: Crowd, bulk: Bulk) -> list[Awaitable[None]]:
    parts: list[Awaitable[None]] = []
    if plan.sessions:
        parts.append(crowd.hold(plan.sessions, within_seconds=plan.within_seconds))
    if plan.rate_per_second:
        parts.append(crowd.arrive(plan.arrivals, plan.rate_per_second, most=plan.most))
    if plan.readers:
        parts.append(bulk.read(plan.readers))
    return parts


def _scene(served: Served, plan: Plan, tally: Tally, run_end: RunEnd) -> Scene:
    return Scene(
        address=served.address,
        manner=plan.manner,
        tally=tally,
        run_end=run_end,
        creates_voices=served.creates_voices,
        source=random.Random(plan.manner.seed),  # noqa: S311  # Moments, no secrets.
    )


def _watchers(
    tally: Tally, run_end: RunEnd, watch: ProcessWatch | None, tell: Tell, stop_when: Callable[[Tally], str] | None
) -> list[Awaitable[None]]:
    watchers: list[Awaitable[None]] = [_telling(tally, run_end, tell, stop_when), watch_loop(tally.own_delay.add)]
    return watchers if watch is None else [*watchers, watch.run()]


async def _telling(tally: Tally, run_end: RunEnd, tell: Tell, stop_when: Callable[[Tally], str] | None) -> None:
    while True:
        tell(tally, run_end)
        if stop_when is not None and (why := stop_when(tally)):
            run_end.now(why)
        await asyncio.sleep(0.25)


@contextlib.asynccontextmanager
async def beside(works: Iterable[Awaitable[None]]) -> AsyncIterator[None]:
    """Do some work beside the block and end it with the block; what fails in it, fails the block in the end."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
    for each in found:
        if isinstance(each, Exception):
            raise each


@contextlib.contextmanager
def _without_long_collections() -> Any:
    """Keep what is there already out of Python's collector: a full collection would stop all listeners for 0.1 s."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
