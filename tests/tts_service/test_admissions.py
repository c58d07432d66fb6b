"""What becomes of calls at the door of speech: let in, waiting, refused, gone."""

import asyncio

import pytest

from tests.fakes.told_door import DoorDesk, turned
from tts_service.errors import Reason, ServiceError
from tts_service.types import Priority


async def test_session_with_room_comes_in_without_a_word_of_a_queue() -> None:
    """It is counted while it is there, and not after."""
    desk = DoorDesk()
    visit = await desk.visit()
    inside = (visit.is_inside, desk.sessions.count, desk.machine.joins)
    await visit.go()

    assert ((True, 1, 1), 0, []) == (inside, desk.sessions.count, visit.places)
    assert ["admitted interactive"] == desk.heard.said


async def test_full_machine_refuses_at_once_with_a_time_within_bounds() -> None:
    """What cannot stay in real time is not let in; without a place to wait it is told when to come back."""
    desk = DoorDesk(one=0.3, queue=0)
    visits = await desk.visits(3)

    assert [True, True, False] == [visit.is_inside for visit in visits]
    error = visits[2].error
    assert error is not None
    assert (Reason.AT_CAPACITY, {"refusal": "full"}) == (error.reason, error.metadata)
    assert error.retry_after_seconds is not None
    assert 0.1 <= error.retry_after_seconds <= 60.0
    assert "refused interactive full" == desk.heard.said[-1]


async def test_queue_goes_by_order_and_interactive_before_bulk() -> None:
    """Each is told its place, and again when it changes; who leaves makes room for the first."""
    desk = DoorDesk(sessions=1)
    await desk.leaves_often()
    holder = await desk.visit()
    bulk = await desk.visit(priority=Priority.BULK)
    first, second = await desk.visits(2)
    await holder.go()
    await turned()

    assert [True, False, False] == [visit.is_inside for visit in (first, second, bulk)]
    assert [1, 2] == [place.position for place in bulk.places]
    assert [2, 1] == [place.position for place in second.places]
    for visit in (first, second, bulk):
        await visit.go()


async def test_vanished_client_frees_its_place_in_the_queue() -> None:
    """Whoever stood behind it moves up, and nobody is let in for it."""
    desk = DoorDesk(sessions=1)
    await desk.leaves_often()
    holder = await desk.visit()
    gone, behind = await desk.visits(2)
    await gone.vanish()
    await turned()

    assert [2, 1] == [place.position for place in behind.places]
    await holder.go()
    await turned()
    assert (True, 1) == (behind.is_inside, desk.sessions.count)
    await behind.go()
    assert 0 == desk.sessions.count + desk.door.waiting


async def test_call_that_vanishes_as_it_is_let_in_leaves_nothing_behind() -> None:
    """Between the word and the entrance there is a turn of the loop in which a client may go."""
    desk = DoorDesk(sessions=1)
    await desk.leaves_often()
    holder = await desk.visit()
    gone = await desk.visit()
    behind = await desk.visit()
    leaving = asyncio.create_task(holder.go())
    await asyncio.sleep(0)
    await gone.vanish()
    await leaving
    await turned()

    assert behind.is_inside
    await behind.go()
    assert (0, 0) == (desk.sessions.count, desk.door.waiting)


async def test_wait_in_vain_ends_with_at_capacity() -> None:
    """Nobody waits for longer than the queue lets it."""
    desk = DoorDesk(sessions=1, queue_seconds=0.2)
    await desk.leaves_often()
    holder = await desk.visit()
    waiting = await desk.visit()
    await asyncio.wait_for(waiting.task, 5.0)

    assert waiting.error is not None
    assert Reason.AT_CAPACITY is waiting.error.reason
    assert waiting.places[0].wait_seconds <= 0.2
    await holder.go()


async def test_deadline_within_the_first_sound_is_refused_at_once() -> None:
    """What would be made for nobody is not begun, however empty the service is."""
    desk = DoorDesk()
    visit = await desk.visit(deadline_seconds=0.1)

    assert visit.error is not None
    assert (Reason.QUEUE_TIMEOUT, []) == (visit.error.reason, visit.places)


async def test_deadline_that_comes_in_the_queue_ends_the_wait_before_it() -> None:
    """It waits for as long as it could still be heard."""
    desk = DoorDesk(sessions=1)
    await desk.leaves_often()
    holder = await desk.visit()
    loop = asyncio.get_running_loop()
    asked_at = loop.time()
    visit = await desk.visit(deadline_seconds=0.5)
    await asyncio.wait_for(visit.task, 5.0)

    assert visit.error is not None
    assert (Reason.QUEUE_TIMEOUT, 1) == (visit.error.reason, len(visit.places))
    assert loop.time() - asked_at >= 0.3 - 0.001
    await holder.go()


async def test_client_with_all_it_may_have_is_refused_and_others_come_in() -> None:
    """One's flood is nobody else's matter."""
    desk = DoorDesk(client_sessions=2)
    mine = await desk.visits(3, client="me")
    other = await desk.visit("you")

    assert [True, True, False, True] == [visit.is_inside for visit in (*mine, other)]
    assert mine[2].error is not None
    assert {"refusal": "client"} == mine[2].error.metadata


async def test_drain_refuses_the_queue_and_whoever_comes() -> None:
    """Who waits hears at once that the service stops."""
    desk = DoorDesk(sessions=1)
    await desk.leaves_often()
    holder = await desk.visit()
    waiting = await desk.visit()
    desk.sessions.drain(asyncio.get_running_loop().time() + 5.0)
    await asyncio.wait_for(waiting.task, 5.0)
    late = await desk.visit()

    assert [Reason.DRAINING, Reason.DRAINING] == [v.error.reason for v in (waiting, late) if v.error]
    assert (True, 0) == (holder.is_inside, desk.door.waiting)
    await holder.go()


async def test_stream_that_says_nothing_is_refused_if_nobody_could_come_in() -> None:
    """With all places taken and no hope of one, a stream need not say what it wants to hear that."""
    desk = DoorDesk(sessions=2)
    visits = await desk.visits(2)
    with pytest.raises(ServiceError) as raised, desk.door.opening():
        pass
    await visits[0].go()
    with desk.door.opening():
        opening = desk.sessions.count

    assert (Reason.AT_CAPACITY, 2) == (raised.value.reason, opening)
    await visits[1].go()


async def test_streams_that_say_nothing_are_bounded() -> None:
    """As many as could come in or wait; what is beyond is refused."""
    desk = DoorDesk(sessions=1, queue=0)
    with desk.door.opening(), pytest.raises(ServiceError) as raised, desk.door.opening():
        pass

    assert Reason.AT_CAPACITY is raised.value.reason
    assert await desk.sessions.wait_empty(0.1)
