"""The loop of the tokens' lane: who shares bursts, who goes first, who leaves, and that trouble is one's own."""

import asyncio
import random
import threading
import time

import pytest

from tests.fakes.joined_segments import TOKENS, Crowd, JoinedSegment, Taker
from tests.fakes.manual_clock import ManualClock
from tests.fakes.token_lanes import BULK, INTERACTIVE, TIMEOUT_SECONDS, lanes, place
from tts_service.errors import Reason, ServiceError
from tts_service.residency.growth import RoomWantedError

STEP_SECONDS = 0.01
"""What a piece of the lane's work takes, by the clock of a test."""
BULK_STEPS = 5
"""After so many bulk has waited for long."""


def timed(crowd: Crowd, clock: ManualClock) -> None:
    """Let work take its time by a test's clock."""
    crowd.on_burst = lambda _: clock.advance(STEP_SECONDS)


def stop(segment: JoinedSegment, taker: Taker) -> None:
    """Interrupt a segment."""
    segment.cancelled = True
    for each in taker.stops:
        each()


async def test_segments_share_bursts_and_those_with_other_rows_have_their_own() -> None:
    """Six guided segments and two without guidance: all are made, in many fewer bursts than they would take alone."""
    crowd, clock = Crowd(), ManualClock()
    timed(crowd, clock)
    segments = [JoinedSegment(crowd, f"{i}", 60, rows=1 if i > 5 else 2) for i in range(8)]
    async with lanes(clock=clock) as held:
        held.hold_up()
        speaking = [asyncio.create_task(held.speak(each, place(now=clock()))) for each in segments]
        await held.let_go(8)
        await asyncio.gather(*speaking)

    assert [] == crowd.violations
    assert all(each.made == list(range(len(each.made))) for each in segments)
    assert 6 == max(len(names) for names in crowd.bursts)
    assert len(crowd.bursts) < 8 * 60 / 8


async def test_who_is_missed_first_is_begun_first_and_bulk_last() -> None:
    """Of those who sat down in another order, before any bulk has waited for long."""
    crowd, clock = Crowd(), ManualClock()
    timed(crowd, clock)
    now = clock()
    order = {
        "bulk": place(BULK, now=now),
        "later": place(ahead_seconds=3.0, now=now),
        "soon": place(ahead_seconds=1.0, now=now),
        "now": place(now=now),
    }
    async with lanes(clock=clock, bulk_wait_seconds=60.0) as held:
        held.hold_up()
        speaking = [asyncio.create_task(held.speak(JoinedSegment(crowd, n, 30), where)) for n, where in order.items()]
        await held.let_go(4)
        await asyncio.gather(*speaking)

    assert ["now", "soon", "later", "bulk"] == crowd.prompts


async def test_bulk_that_has_waited_leads_every_fourth_decision() -> None:
    """Beside four that speak on, in bursts of their own rows, it comes to its end after a known number of bursts."""
    crowd, clock = Crowd(), ManualClock()
    bulk = JoinedSegment(crowd, "bulk", 40, rows=1)
    endless, takers = [JoinedSegment(crowd, f"{i}", 1_000_000) for i in range(4)], [Taker() for _ in range(4)]
    bursts_until_end = list[int]()

    def work(_: list[str]) -> None:
        clock.advance(STEP_SECONDS)
        if bulk.ended and not bursts_until_end:
            bursts_until_end.append(len(crowd.bursts))

    crowd.on_burst = work
    async with lanes(clock=clock, bulk_wait_seconds=BULK_STEPS * STEP_SECONDS) as held:
        held.hold_up()
        speaking = [
            asyncio.create_task(held.speak(each, place(now=clock()), taker))
            for each, taker in zip(endless, takers, strict=True)
        ]
        made = asyncio.create_task(held.speak(bulk, place(BULK, now=clock())))
        await held.let_go(5)
        await made
        while not bursts_until_end:  # noqa: ASYNC110  # The lane's thread tells nobody.
            await asyncio.sleep(0.001)
        for each, taker in zip(endless, takers, strict=True):
            stop(each, taker)
        await asyncio.gather(*speaking)
    own = sum(names == ["bulk"] for names in crowd.bursts)

    # Its prompt and its bursts wait for three others' each, once each has waited.
    assert bursts_until_end[0] <= (own + 1) * (BULK_STEPS + 4)
    assert 40 == len(bulk.made)
    assert [] == crowd.violations


async def test_segment_far_ahead_rests_until_it_will_be_missed() -> None:
    """With an hour to hear it is not begun; once it may be ahead by no more than what is left to hear, it is."""
    crowd, clock = Crowd(), ManualClock()
    rich = JoinedSegment(crowd, "rich", 30)
    async with lanes(clock=clock) as held:
        speaking = asyncio.create_task(held.speak(rich, place(ahead_seconds=3_600.0, now=clock())))
        await held.seated(1)
        await held.rested()
        before = list(crowd.prompts)
        clock.advance(3_590.0)
        held.ring()
        await held.rested()
        still = list(crowd.prompts)
        clock.advance(6.0)
        held.ring()
        await speaking

    assert ([], []) == (before, still)
    assert 30 <= len(rich.made)


async def test_segment_far_ahead_gets_up_at_once() -> None:
    """It rests in the lane, and is told so as soon as nobody wants it."""
    crowd, clock, taker = Crowd(), ManualClock(), Taker()
    rich = JoinedSegment(crowd, "rich", 30)
    async with lanes(clock=clock) as held:
        speaking = asyncio.create_task(held.speak(rich, place(ahead_seconds=3_600.0, now=clock()), taker))
        await held.seated(1)
        stop(rich, taker)
        await speaking

    assert [] == crowd.prompts


async def test_cancelled_segment_is_in_no_burst_after_the_present_one_and_leaves_its_place() -> None:
    """The burst that it is part of is its last, and its place is free at once."""
    crowd, taker = Crowd(places=2), Taker()
    reached, go_on = threading.Event(), threading.Event()

    def hold(names: list[str]) -> None:
        if "gone" in names and len(crowd.bursts) >= 2 and not reached.is_set():
            reached.set()
            go_on.wait(TIMEOUT_SECONDS)

    crowd.on_burst = hold
    gone, stays = JoinedSegment(crowd, "gone", 1_000), JoinedSegment(crowd, "stays", 200)
    async with lanes() as held:
        speaking = [
            asyncio.create_task(held.speak(gone, place(), taker)),
            asyncio.create_task(held.speak(stays, place())),
        ]
        await asyncio.to_thread(reached.wait, TIMEOUT_SECONDS)
        bursts = len(crowd.bursts)
        stop(gone, taker)
        go_on.set()
        await asyncio.gather(*speaking)

    assert not any("gone" in names for names in crowd.bursts[bursts:])
    assert gone.closed
    assert (200 <= len(stays.made), 2) == (True, crowd.places)


@pytest.mark.parametrize("error", [ServiceError(Reason.ENGINE_FAULT, "no numbers"), ValueError("a defect")])
async def test_failure_is_told_to_its_segment_alone(error: Exception) -> None:
    """In the middle of a burst of three."""
    crowd = Crowd()
    segments = [JoinedSegment(crowd, f"{i}", 40) for i in range(3)]
    take = segments[1].take

    def refuse(made: object, leased: object) -> None:
        if len(segments[1].made) > 10:
            raise error
        take(made, leased)  # type: ignore[arg-type]  # Handed on.

    segments[1].take = refuse  # type: ignore[method-assign]  # The test's own object.
    async with lanes() as held:
        ends = await asyncio.gather(*(held.speak(each, place()) for each in segments), return_exceptions=True)

    assert [None, error, None] == ends
    assert [] == crowd.violations


async def test_failure_of_a_whole_burst_is_told_to_all_of_it_and_the_loop_goes_on() -> None:
    """Whoever comes next is served."""
    crowd = Crowd()

    def fail(names: list[str]) -> None:
        if "next" not in names and len(crowd.bursts) == 2:
            raise RuntimeError("the device is gone")

    crowd.on_burst = fail
    async with lanes() as held:
        held.hold_up()
        speaking = [asyncio.create_task(held.speak(JoinedSegment(crowd, f"{i}", 40), place())) for i in range(2)]
        await held.let_go(2)
        ends = await asyncio.gather(*speaking, return_exceptions=True)
        await held.speak(JoinedSegment(crowd, "next", 20), place())

    assert [RuntimeError, RuntimeError] == [type(end) for end in ends]


async def test_segment_that_wants_room_makes_its_step_alone_and_comes_back() -> None:
    """Room is made for it while the others go on; then it shares bursts again."""
    crowd = Crowd()
    lacking, other = JoinedSegment(crowd, "lacking", 60), JoinedSegment(crowd, "other", 2_000)
    crowd.on_burst = lambda _: time.sleep(0.001)
    lacking.lacks = RoomWantedError(TOKENS, 0, "no room for a page")
    async with lanes() as held:
        await asyncio.gather(held.speak(lacking, place()), held.speak(other, place()))

    assert lacking.alone > 0
    assert any("lacking" in names for names in crowd.bursts[2:])
    assert [] == crowd.violations


async def test_segments_without_a_place_wait_for_one() -> None:
    """Five share two places, one after the other, and nobody is refused."""
    crowd, clock = Crowd(places=2), ManualClock()
    segments = [JoinedSegment(crowd, f"{i}", 20) for i in range(5)]
    async with lanes(clock=clock) as held:
        await asyncio.gather(*(held.speak(each, place(now=clock())) for each in segments))

    assert all(each.ended for each in segments)
    assert 2 == crowd.places


@pytest.mark.parametrize("seed", range(3))
async def test_threads_that_come_and_go_at_random_lose_nothing(seed: int) -> None:
    """Forty segments of any length, a third of them cancelled at any time: every other one has all its tokens."""
    chance, crowd, clock = random.Random(seed), Crowd(places=6), ManualClock()
    segments = [JoinedSegment(crowd, f"{i}", chance.randint(1, 60), rows=chance.choice([1, 2])) for i in range(40)]
    async with lanes(clock=clock) as held:

        async def live(segment: JoinedSegment, *, is_cancelled: bool) -> None:
            await asyncio.sleep(chance.uniform(0.0, 0.05))
            taker = Taker()
            where = place(chance.choice([INTERACTIVE, BULK]), ahead_seconds=chance.choice([0.0, 1.0]), now=clock())
            speaking = asyncio.create_task(held.speak(segment, where, taker))
            if is_cancelled:
                await asyncio.sleep(chance.uniform(0.0, 0.05))
                stop(segment, taker)
            await speaking

        await asyncio.gather(*(live(each, is_cancelled=not i % 3) for i, each in enumerate(segments)))

    assert [] == crowd.violations
    assert all(len(each.made) >= each.tokens for i, each in enumerate(segments) if i % 3)
    assert all(each.made == list(range(len(each.made))) for each in segments)
