"""What goes wrong in a lane's loop is told to whom it concerns, ends no wait unanswered and never the loop."""

import asyncio
import threading
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest

from tests.fakes.device_figures import ENGLISH
from tests.fakes.joined_segments import TOKENS, Crowd, JoinedSegment, LeavingSegment, Taker
from tests.fakes.manual_clock import ManualClock
from tests.fakes.token_lanes import TIMEOUT_SECONDS, Lanes, lanes, paused, place, until
from tts_service.errors import Reason, ServiceError
from tts_service.residency.types import Tier
from tts_service.scheduling.costs import Costs, decode_seconds
from tts_service.scheduling.deadlines import Promise
from tts_service.scheduling.token_rests import RestLimits
from tts_service.speech.playback import PlaybackClock
from tts_service.speech.rendering import Heard
from tts_service.speech.resting import Leave
from tts_service.speech.speech_model import Lane, TokenNeed
from tts_service.token_loop import CHUNKS_BESIDE

NO_EXCEPTIONS = [asyncio.CancelledError(), SystemExit(1), GeneratorExit(), StopIteration(1)]
"""What no future, or nobody who waits for one, may be given."""


async def ends_of(held: Lanes, segments: Sequence[JoinedSegment]) -> list[BaseException | None]:
    """Return how these end that sit down together."""
    held.hold_up()
    speaking = [asyncio.create_task(held.speak(each, place())) for each in segments]
    await held.let_go(len(segments))
    return await asyncio.gather(*speaking, return_exceptions=True)


@pytest.mark.parametrize("raised", NO_EXCEPTIONS, ids=lambda each: type(each).__name__)
async def test_step_that_raises_what_is_no_exception_fails_its_segment_alone(raised: BaseException) -> None:
    """It is told of a defect; those beside it, and whoever comes next, are served."""
    crowd = Crowd()
    segments = [JoinedSegment(crowd, f"{i}", 40) for i in range(3)]

    def refuse(*_: object, **__: object) -> None:
        raise raised

    segments[1].take = refuse  # type: ignore[method-assign]  # The test's own object.
    async with lanes() as held:
        ends = await ends_of(held, segments)
        await held.speak(JoinedSegment(crowd, "next", 20), place())

    assert [type(None), RuntimeError, type(None)] == [type(end) for end in ends]
    assert [] == crowd.violations


@pytest.mark.parametrize("raised", NO_EXCEPTIONS, ids=lambda each: type(each).__name__)
async def test_burst_that_raises_what_is_no_exception_fails_those_in_it(raised: BaseException) -> None:
    """The next one is served."""
    crowd = Crowd()

    def fail(names: list[str]) -> None:
        if "next" not in names and len(crowd.bursts) == 2:
            raise raised

    crowd.on_burst = fail
    async with lanes() as held:
        ends = await ends_of(held, [JoinedSegment(crowd, f"{i}", 40) for i in range(2)])
        await held.speak(JoinedSegment(crowd, "next", 20), place())

    assert [RuntimeError, RuntimeError] == [type(end) for end in ends]


async def test_lack_of_memory_in_a_step_is_told_as_such() -> None:
    """With the advice to come back; the others go on."""
    crowd = Crowd()
    segments = [JoinedSegment(crowd, f"{i}", 40) for i in range(3)]

    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    segments[1].take = refuse  # type: ignore[method-assign]  # The test's own object.
    async with lanes() as held:
        first, lacking, last = await ends_of(held, segments)

    assert (None, None) == (first, last)
    assert isinstance(lacking, ServiceError)
    assert (Reason.DEVICE_MEMORY, True) == (lacking.reason, lacking.retry_after_seconds is not None)


async def test_segment_whose_end_fails_is_told_so_and_waits_for_nothing() -> None:
    """What it holds cannot be given back: its session hears of it, and nobody else does."""
    crowd = Crowd()
    segments = [JoinedSegment(crowd, f"{i}", 40) for i in range(3)]

    def refuse(*, over: bool = False) -> None:
        del over
        raise ValueError("a defect")

    segments[1].close = refuse  # type: ignore[method-assign]  # The test's own object.
    async with lanes() as held:
        ends = await ends_of(held, segments)

    assert [type(None), ValueError, type(None)] == [type(end) for end in ends]


class Unsayable(JoinedSegment):
    """A segment that cannot say what it needs, from its tenth token on."""

    @property
    def need(self) -> TokenNeed | None:
        """What it asks for."""
        if len(self.made) > 10:
            raise ValueError("a defect")
        return super().need


async def test_segment_that_cannot_be_asked_fails_alone() -> None:
    """Those beside it have all their tokens."""
    crowd = Crowd()
    segments = [JoinedSegment(crowd, "0", 40), Unsayable(crowd, "1", 40), JoinedSegment(crowd, "2", 40)]
    async with lanes() as held:
        ends = await ends_of(held, segments)

    assert [type(None), ValueError, type(None)] == [type(end) for end in ends]


async def test_all_who_leave_in_one_burst_leave_their_places_and_a_lane_at_rest() -> None:
    """Some are interrupted, the tasks of others end: the next one finds every place free."""
    crowd, takers = Crowd(places=4), [Taker() for _ in range(4)]
    reached, go_on = threading.Event(), threading.Event()

    def hold(names: list[str]) -> None:
        if len(names) == 4:
            reached.set()
            go_on.wait(TIMEOUT_SECONDS)

    crowd.on_burst = hold
    segments = [JoinedSegment(crowd, f"{i}", 1_000) for i in range(4)]
    async with lanes() as held:
        held.hold_up()
        speaking = [
            asyncio.create_task(held.speak(each, place(), taker)) for each, taker in zip(segments, takers, strict=True)
        ]
        await held.let_go(4)
        await asyncio.to_thread(reached.wait, TIMEOUT_SECONDS)
        for segment, taker in zip(segments[:2], takers[:2], strict=True):
            segment.cancelled = True
            for stop in taker.stops:
                stop()
        for task in speaking[2:]:
            task.cancel()
        ended = await asyncio.gather(*speaking[2:], return_exceptions=True)
        held.engine.release(segments)
        go_on.set()
        await asyncio.gather(*speaking[:2])
        await held.rested()
        bursts = len(crowd.bursts)
        await held.speak(JoinedSegment(crowd, "next", 20), place())

    assert [asyncio.CancelledError] * 2 == [type(end) for end in ended]
    assert not any("next" not in names for names in crowd.bursts[bursts:])
    assert 4 == crowd.places


async def test_segment_that_rests_gives_its_place_back_once_its_order_is_over() -> None:
    """It sits nowhere at that moment, and nobody cancelled it: who vanishes does not."""
    crowd = Crowd(places=2)
    segment = JoinedSegment(crowd, "vanished", 1_000_000)
    async with lanes() as held:
        speaking = asyncio.create_task(held.speak(segment, place()))
        await until(lambda: len(segment.made) > 20)
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        held.engine.release([segment])
        await until(lambda: crowd.places == 2)

    assert segment.closed


class Grumbling(LeavingSegment):
    """A segment that is asked to leave again and again, and whose answers are kept with the lane's bursts."""

    def __init__(self, crowd: Crowd, log: list[str], answer: Leave | Exception) -> None:
        super().__init__(crowd, "grumbling", 400)
        self._log = log
        self._answer = answer

    def leave(self) -> Leave:
        """Not yet, or never."""
        self._log.append("asked")
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


async def beside(answer: Leave | Exception) -> list[str]:
    """Return what the lane did while one that is to leave answered so, and another spoke."""
    log, crowd, clock = list[str](), Crowd(), ManualClock()
    where, other = place(now=clock()), JoinedSegment(crowd, "other", 200, rows=1)
    grumbling, taker = Grumbling(crowd, log, answer), Taker()

    def work(names: list[str]) -> None:
        clock.advance(0.01)
        if names == ["other"]:
            log.append("burst")
        elif len(grumbling.made) > 20:
            paused(where, ahead_seconds=60.0, since=5.0, now=clock())

    crowd.on_burst = work
    async with lanes(RestLimits(after_seconds=0.05), clock=clock) as held:
        speaking = asyncio.create_task(held.speak(grumbling, where, taker))
        await until(lambda: len(grumbling.made) > 20)
        await held.speak(other, place(now=clock()))
        grumbling.cancelled = True
        for stop in taker.stops:
            stop()
        await speaking
    return log


async def test_who_takes_long_to_leave_keeps_nobody_waiting() -> None:
    """Between two calls to it others have a burst."""
    log = await beside(Leave.LATER)
    spoken = log[log.index("burst") : len(log) - log[::-1].index("burst")]

    assert ("asked", "asked") not in pairwise(spoken)
    assert "asked" in spoken


async def test_who_cannot_leave_for_a_defect_disturbs_nobody() -> None:
    """It stays, and the other has all its tokens."""
    log = await beside(ValueError("a defect"))

    assert log.count("burst") > 200 / 8 - 2
    assert "asked" in log


async def test_lane_that_fails_with_nobody_there_does_so_once() -> None:
    """It rests until somebody comes, and serves them."""
    crowd, failures = Crowd(), list[str]()
    async with lanes(RestLimits()) as held:
        loop = held.engine._loops[Lane.TOKENS]
        sound = loop._besides

        def fail(now: float) -> float | None:
            if len(failures) < 3:
                failures.append("failed")
                raise ValueError("a defect")
            return sound(now)

        loop._besides = fail  # type: ignore[method-assign]  # The test's own object.
        held.ring()
        await held.rested()
        after_one_ring = list(failures)
        failures += ["over"] * 3
        await held.speak(JoinedSegment(crowd, "next", 20), place())

    assert ["failed"] == after_one_ring


async def test_segment_that_is_away_comes_back_in_time_though_nobody_rings() -> None:
    """T3 has left too, nobody else speaks, and its listener plays on: it is looked at when it may be missed."""
    crowd, where = Crowd(), place()
    segment = LeavingSegment(crowd, "paused", 200)
    crowd.on_burst = lambda _: paused(where, ahead_seconds=60.0, since=5.0) if len(segment.made) > 50 else None
    async with lanes(RestLimits(after_seconds=0.05)) as held:
        speaking = asyncio.create_task(held.speak(segment, where))
        await until(lambda: segment.is_away)
        # From now on it has a little more to hear than it may be ahead: that is when it is to come back.
        crowd.on_burst = lambda _: None
        spare_seconds = Promise().margin_seconds + decode_seconds(Costs(figures=ENGLISH), CHUNKS_BESIDE) + 0.5
        heard = PlaybackClock(sent_seconds=where.listening.ahead_seconds + spare_seconds, as_of=time.monotonic())
        await asyncio.to_thread(held.residency.place, TOKENS, Tier.DISK, timeout_seconds=5.0)
        await asyncio.to_thread(held.residency.place, TOKENS, None, timeout_seconds=5.0)
        where.listening.ordered(Heard(clock=heard, unsent_seconds=0.0, ordered_at=time.monotonic()))
        held.ring()
        await held.rested()
        away = held.residency.away({TOKENS})
        await speaking

    assert (TOKENS,) == away
    assert segment.ended


async def test_listener_who_jumps_on_is_looked_at_at_once() -> None:
    """Its segment rests, far ahead; hurried, the lane sees that it will be missed soon."""
    crowd, clock = Crowd(), ManualClock()
    where, segment = place(ahead_seconds=60.0, now=clock()), JoinedSegment(crowd, "jumps", 30)
    async with lanes(clock=clock) as held:
        speaking = asyncio.create_task(held.speak(segment, where))
        await held.seated(1)
        await held.rested()
        before = list(crowd.prompts)
        is_sooner = where.listening.ordered(
            Heard(clock=PlaybackClock(as_of=clock()), unsent_seconds=0.0, ordered_at=clock())
        )
        held.engine.hurry()
        await speaking

    assert ([], True) == (before, is_sooner)
    assert segment.ended
