"""A bell that threads ring and coroutines hear."""

import asyncio
import threading

from tts_service.bell import Bell

PATIENCE_SECONDS = 10.0


async def _rest() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_bell_need_not_ring_for_what_holds_already() -> None:
    """There is no wait."""
    bell = Bell()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await bell.wait_for(lambda: True)

    assert "<Bell 0 wait>" == repr(bell)


async def test_bell_wakes_those_alone_whose_wait_is_over() -> None:
    """The others wait on, without being woken in vain."""
    bell, there = Bell(), set[str]()
    first = asyncio.create_task(bell.wait_for(lambda: "first" in there))
    second = asyncio.create_task(bell.wait_for(lambda: "second" in there))
    await _rest()
    there.add("second")
    bell.ring()
    await _rest()
    done = first.done(), second.done()
    there.add("first")
    bell.ring()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await first

    assert (False, True) == done
    assert "<Bell 0 wait>" == repr(bell)


async def test_bell_hears_what_came_to_hold_before_it_knew_of_the_wait() -> None:
    """A ring that falls between the look and the wait is not lost."""
    bell, looks = Bell(), list[bool]()

    def holds() -> bool:
        # The change comes between the first look and the second, with a ring that nobody was there to hear.
        looks.append(True)
        return len(looks) > 1

    async with asyncio.timeout(PATIENCE_SECONDS):
        await bell.wait_for(holds)

    assert "<Bell 0 wait>" == repr(bell)


async def test_bell_whose_condition_is_gone_when_it_is_heard_waits_on() -> None:
    """What held for the thread that rang may hold no more."""
    bell, there = Bell(), {"it"}
    waiting = asyncio.create_task(bell.wait_for(lambda: "it" in there and bool(rung)))
    rung = list[bool]()
    await _rest()
    rung.append(True)
    bell.ring()
    there.clear()
    await _rest()
    early = waiting.done()
    there.add("it")
    bell.ring()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await waiting

    assert not early


async def test_wait_that_is_cancelled_is_forgotten() -> None:
    """A bell that rings later finds nobody."""
    bell = Bell()
    waiting = asyncio.create_task(bell.wait_for(lambda: False))
    await _rest()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    bell.ring()

    assert "<Bell 0 wait>" == repr(bell)


async def test_bell_is_heard_from_any_thread() -> None:
    """Ten threads count to a hundred each; who waits for the sum is woken by the last."""
    bell, counted, lock = Bell(), [0], threading.Lock()

    def count() -> None:
        for _ in range(100):
            with lock:
                counted[0] += 1
            bell.ring()

    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(bell.wait_for(lambda: counted[0] == 1000), *(asyncio.to_thread(count) for _ in range(10)))

    assert "<Bell 0 wait>" == repr(bell)


def test_bell_may_ring_after_its_loop_has_gone() -> None:
    """A step may end after the session that asked for it."""
    bell, holds = Bell(), list[bool]()

    async def give_up() -> None:
        task = asyncio.create_task(bell.wait_for(lambda: bool(holds)))
        await _rest()
        kept.append(bell._waiting)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    kept = list[object]()
    asyncio.run(give_up())
    bell._waiting = kept[0]  # type: ignore[assignment]  # As a thread would see it that rings just then.
    holds.append(True)
    bell.ring()

    assert "<Bell 1 wait>" == repr(bell)
