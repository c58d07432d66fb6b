"""Many sessions: a number that is held all the time (closed loop), or arrivals that nobody holds back (open loop)."""

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Final

from benchmarks.load.arrivals import LATE_SECONDS, Arrivals, arrival_times
from benchmarks.load.caller import Caller, Outcome
from benchmarks.load.lines import Lines
from benchmarks.load.manner import Manner
from benchmarks.load.recordings import Recordings
from benchmarks.load.run_end import RunEnd
from benchmarks.load.tally import Tally

PAUSE_SECONDS: Final = 0.5
"""Before a session that failed is opened anew, where the service does not say when to try again."""

PATIENCE_SECONDS: Final = 5.0
"""The longest that one waits because the service said so: a load tool comes again sooner than people do."""


class Crowd:
    """Opens sessions of one manner, each with a number of its own."""

    def __init__(
        self, lines: Lines, manner: Manner, *, tally: Tally, run_end: RunEnd, recordings: Recordings, first: int = 0
    ) -> None:
        self.taken = 0
        self._lines = lines
        self._manner = manner
        self._tally = tally
        self._run_end = run_end
        self._recordings = recordings
        self._next = first
        self._source = random.Random(manner.seed)  # noqa: S311  # Arrivals, no secrets.

    def __repr__(self) -> str:
        return f"<Crowd {self._next} begun | {self._tally!r}>"

    async def hold(self, sessions: int, *, within_seconds: float) -> None:
        """Hold so many sessions until the run is over; they begin at random within the first seconds."""
        begins = [self._source.uniform(0.0, within_seconds) for _ in range(sessions)]
        async with asyncio.TaskGroup() as group:
            for begin_seconds in begins:
                group.create_task(self._hold_one(begin_seconds))

    async def arrive(self, kind: Arrivals, rate_per_second: float, *, most: int) -> None:
        """Let sessions arrive until the run is over, at most so many at once.

        One that finds no room waits, and those behind it wait, too; all of them are late by what they waited. Arrivals
        that never began are counted when the run is over.
        """
        began, seconds = time.monotonic(), self._run_end.left_seconds
        due = arrival_times(kind, rate_per_second, seconds, self._source)
        room = asyncio.Semaphore(most)
        async with asyncio.TaskGroup() as group:
            for at_seconds in due:
                await self._run_end.sleep(began + at_seconds - time.monotonic())
                if not await self._found_room(room):
                    self._never(began, at_seconds, due)
                    return
                late_seconds = max(0.0, time.monotonic() - began - at_seconds)
                self._tally.counts["arrivals"] += 1
                self._tally.counts["late arrivals"] += late_seconds > LATE_SECONDS
                self._tally.late.add(late_seconds)
                group.create_task(self._arrival(room, late_seconds if late_seconds > LATE_SECONDS else 0.0))

    async def one(self, late_seconds: float = 0.0) -> Outcome:
        """Hold one session."""
        number, self._next = self._next, self._next + 1
        caller = Caller(
            self._lines.stub(number),
            number=number,
            manner=self._manner,
            tally=self._tally,
            run_end=self._run_end,
            recordings=self._recordings,
            late_seconds=late_seconds,
            on_taken=self._count,
        )
        return await caller.hold()

    def _count(self) -> None:
        self.taken += 1

    async def _hold_one(self, begin_seconds: float) -> None:
        await self._run_end.sleep(begin_seconds)
        while not self._run_end.is_over:
            outcome = await self.one()
            if outcome.error is not None:
                told = outcome.error.retry_after_seconds
                await self._run_end.sleep(PAUSE_SECONDS if told is None else min(told, PATIENCE_SECONDS))

    async def _found_room(self, room: asyncio.Semaphore) -> bool:
        """Wait for room; return False if the run ended before there was any."""
        while not self._run_end.is_over:
            try:
                async with asyncio.timeout(max(0.001, min(self._run_end.left_seconds, 1.0))):
                    await room.acquire()
            except TimeoutError:
                continue
            return True
        return False

    def _never(self, began: float, at_seconds: float, due: Iterator[float]) -> None:
        """Count those who were due before the end and never began: they waited until now, at least."""
        ended_seconds = time.monotonic() - began
        for at in (at_seconds, *due):
            if at >= ended_seconds:
                return
            self._tally.counts["arrivals"] += 1
            self._tally.counts["arrivals that never began"] += 1
            self._tally.late.add(ended_seconds - at)

    async def _arrival(self, room: asyncio.Semaphore, late_seconds: float) -> None:
        try:
            await self.one(late_seconds)
        finally:
            room.release()
