"""Whose keys and values leave because nobody asks for tokens: a case table for the rules, and stories over the loop."""

import asyncio
import math
import threading
import time
from collections.abc import Sequence

import pytest

from tests.fakes.joined_segments import TOKENS, Crowd, JoinedSegment, LeavingSegment, Taker
from tests.fakes.token_lanes import lanes, paused, place, until
from tts_service.errors import Reason, ServiceError
from tts_service.listening import Place
from tts_service.residency.growth import RoomWantedError
from tts_service.residency.types import Tier
from tts_service.scheduling.token_rests import Resting, RestLimits, next_to_leave
from tts_service.speech.playback import PlaybackClock
from tts_service.speech.rendering import Heard
from tts_service.speech.speech_model import Modules, TokensMade

LIMITS = RestLimits(after_seconds=2.0, unasked_seconds=10.0, short_seconds=0.25, back_seconds=0.5)
NOW = 100.0


def resting(key: int = 1, *, rested: float, still: float = 0.0, due_in: float = math.inf) -> Resting:
    """Return a segment that has rested for so long."""
    return Resting(key=key, since=NOW - rested, still_seconds=still, due_at=NOW + due_in, is_held=due_in > 20.0)


@pytest.mark.parametrize(
    ("segment", "is_short", "leaves"),
    [
        pytest.param(resting(rested=2.0, still=2.0, due_in=6.0), False, True, id="paused for long enough"),
        pytest.param(resting(rested=1.9, still=5.0, due_in=6.0), False, False, id="paused but asked a moment ago"),
        pytest.param(resting(rested=5.0, still=1.9, due_in=6.0), False, False, id="plays on while a chunk is heard"),
        pytest.param(resting(rested=10.0, due_in=6.0), False, True, id="not asked for long"),
        pytest.param(resting(rested=10.0, due_in=0.1), False, False, id="late, and somebody waits for it"),
        pytest.param(resting(rested=0.3, due_in=0.6), True, True, id="rests while memory is short"),
        pytest.param(resting(rested=0.2, due_in=9.0), True, False, id="asked just now, though memory is short"),
        pytest.param(resting(rested=0.0, due_in=30.0), True, True, id="far ahead while memory is short"),
        pytest.param(resting(rested=0.3, due_in=0.4), True, False, id="due soon, though memory is short"),
    ],
)
def test_segment_leaves_as_its_rest_and_memory_have_it(segment: Resting, is_short: bool, leaves: bool) -> None:  # noqa: FBT001  # Columns of the table.
    """Each rule with the case next to it."""
    assert (1 if leaves else None) == next_to_leave([segment], LIMITS, NOW, is_short=is_short)


def test_paused_ones_leave_before_others_and_of_those_who_is_due_last() -> None:
    """One after the other, where all of them may."""
    order, segments = (
        [],
        [
            resting(1, rested=1.0, due_in=2.0),
            resting(2, rested=3.0, still=3.0, due_in=5.0),
            resting(3, rested=1.0),
            resting(4, rested=4.0, still=4.0, due_in=5.0),
        ],
    )
    while (key := next_to_leave(segments, LIMITS, NOW, is_short=True)) is not None:
        order.append(key)
        segments = [each for each in segments if each.key != key]

    assert [4, 2, 3, 1] == order


class Told:
    """What an utterance hears of its tokens."""

    def __init__(self, place: Place) -> None:
        self.words: list[str] = []
        place.listening.on_away = lambda: self.words.append("away")
        place.listening.on_back = lambda: self.words.append("back")

    def __repr__(self) -> str:
        return f"<Told {self.words}>"


async def test_segment_of_a_listener_who_stands_still_leaves_and_comes_back_when_it_is_missed() -> None:
    """It has tokens of as many seconds as it may be ahead; the rest follows once its listener plays on."""
    crowd, where = Crowd(), place()
    told, segment = Told(where), LeavingSegment(crowd, "paused", 400)
    crowd.on_burst = lambda _: paused(where, ahead_seconds=60.0, since=5.0) if len(segment.made) > 50 else None
    async with lanes(RestLimits(after_seconds=0.05)) as held:
        speaking = asyncio.create_task(held.speak(segment, where))
        await until(lambda: segment.is_away)
        made, words = len(segment.made), list(told.words)
        crowd.on_burst = lambda _: None
        where.listening.ordered(Heard(clock=PlaybackClock(), unsent_seconds=0.0, ordered_at=0.0))
        held.ring()
        await speaking

    assert (["away"], 1) == (words, segment.departures)
    assert ["away", "back"] == told.words
    assert 50 < made < 400
    assert segment.made == list(range(len(segment.made)))
    assert [] == crowd.violations


async def test_modules_of_a_segment_that_is_away_stay_away_until_it_is_missed() -> None:
    """An operator takes them in the pause: nobody calls them home before the listener plays on."""
    crowd, where = Crowd(), place()
    segment = LeavingSegment(crowd, "paused", 200)
    crowd.on_burst = lambda _: paused(where, ahead_seconds=60.0, since=5.0) if len(segment.made) > 50 else None
    async with lanes(RestLimits(after_seconds=0.05)) as held:
        speaking = asyncio.create_task(held.speak(segment, where))
        await until(lambda: segment.is_away)
        await asyncio.to_thread(held.residency.place, TOKENS, Tier.DISK, timeout_seconds=5.0)
        await asyncio.to_thread(held.residency.place, TOKENS, None, timeout_seconds=5.0)
        held.ring()
        await asyncio.sleep(0.6)
        away = held.residency.away({TOKENS})
        crowd.on_burst = lambda _: None
        where.listening.ordered(Heard(clock=PlaybackClock(), unsent_seconds=0.0, ordered_at=0.0))
        held.ring()
        await speaking

    assert (TOKENS,) == away
    assert segment.ended


async def test_segment_that_lacks_pages_waits_for_one_that_rests_to_leave() -> None:
    """It is told of nothing: the one that rests, far ahead, leaves first, and both are spoken to their ends."""
    crowd, where = Crowd(), place()
    rich, poor = LeavingSegment(crowd, "rich", 80), LeavingSegment(crowd, "poor", 40)
    lack = ServiceError(Reason.DEVICE_MEMORY, "no pages")
    take = poor.take

    def lacking(made: TokensMade, leased: Modules) -> None:
        if rich.has_pages:
            raise lack
        take(made, leased)

    poor.take = lacking  # type: ignore[method-assign]  # The test's own object.
    crowd.on_burst = lambda _: rest_at(rich, where, 20)
    async with lanes(RestLimits(short_seconds=0.02)) as held:
        speaking = asyncio.create_task(held.speak(rich, where))
        await until(lambda: len(rich.made) > 20)
        await asyncio.sleep(0.1)
        await held.speak(poor, place())
        departures = rich.departures
        crowd.on_burst = lambda _: None
        where.listening.ordered(Heard(clock=PlaybackClock(), unsent_seconds=0.0, ordered_at=0.0))
        held.ring()
        await speaking

    assert departures > 0
    assert (True, True) == (rich.ended, poor.ended)


async def test_segment_that_lacks_pages_does_not_leave_for_its_own_sake() -> None:
    """It would come back for its next burst, and lack them again, thousands of times before room is asked for."""
    crowd, where = Crowd(), place()
    segment, lack = LeavingSegment(crowd, "poor", 60), RoomWantedError(TOKENS, 0, "no room for a page")
    burst, short, tries = segment.burst, threading.Event(), list[int]()

    def lacking(stages: Sequence[JoinedSegment], leased: Modules, count: int) -> Sequence[TokensMade]:
        made = burst(stages, leased, count)
        if not short.is_set():
            return made
        tries.append(count)
        return [lack for _ in stages]

    segment.burst = lacking  # type: ignore[method-assign]  # The test's own object.
    crowd.on_burst = lambda _: hearing(where, 3600.0) if len(segment.made) > 20 and not short.is_set() else None
    async with lanes(RestLimits()) as held:
        speaking = asyncio.create_task(held.speak(segment, where))
        await until(lambda: len(segment.made) > 20)
        await asyncio.sleep(0.4)
        short.set()
        hearing(where, 3.0)
        held.ring()
        await until(lambda: bool(tries))
        await asyncio.sleep(0.3)
        departures = segment.departures
        short.clear()
        crowd.on_burst = lambda _: None
        await speaking

    assert departures <= 1
    assert segment.ended


def hearing(where: Place, ahead_seconds: float) -> None:
    """Have a listener play on, with so much left to hear."""
    now = time.monotonic()
    clock = PlaybackClock(sent_seconds=ahead_seconds, as_of=now)
    where.listening.ordered(Heard(clock=clock, unsent_seconds=0.0, ordered_at=now))


def rest_at(segment: JoinedSegment, where: Place, tokens: int) -> None:
    """Let a segment be far ahead from so many tokens on."""
    if len(segment.made) > tokens:
        now = time.monotonic()
        clock = PlaybackClock(sent_seconds=3_600.0, as_of=now)
        where.listening.ordered(Heard(clock=clock, unsent_seconds=0.0, ordered_at=now))


async def test_segment_without_pages_or_anybody_who_rests_is_told_so() -> None:
    """DEVICE_MEMORY, as ever."""
    crowd = Crowd()
    lonely = LeavingSegment(crowd, "lonely", 40)
    lonely.lacks = ServiceError(Reason.DEVICE_MEMORY, "no pages")
    async with lanes(RestLimits()) as held:
        (end,) = await asyncio.gather(held.speak(lonely, place()), return_exceptions=True)

    assert isinstance(end, ServiceError)
    assert Reason.DEVICE_MEMORY is end.reason


async def test_segment_stays_where_the_host_has_no_room_or_nobody_is_to_leave() -> None:
    """Its listener's pause costs nothing then."""
    for limits, has_room in ((RestLimits(after_seconds=0.02), False), (None, True)):
        crowd, where, taker = Crowd(), place(), Taker()
        segment = LeavingSegment(crowd, "paused", 400, asks=1)
        segment.has_room = has_room
        crowd.on_burst = lambda _, where=where, segment=segment: (  # type: ignore[misc]  # Bound here.
            paused(where, ahead_seconds=60.0, since=5.0) if len(segment.made) > 20 else None
        )
        async with lanes(limits) as held:
            speaking = asyncio.create_task(held.speak(segment, where, taker))
            await until(lambda segment=segment: len(segment.made) > 20)  # type: ignore[misc]  # The same.
            await asyncio.sleep(0.6)
            is_away, segment.cancelled = segment.is_away, True
            for stop in taker.stops:
                stop()
            await speaking
            await until(lambda segment=segment: segment.closed)  # type: ignore[misc]  # The same.

        assert not is_away
