"""Calls that are made once for all who ask within a moment."""

import asyncio

from tts_service.engine_process.gathered_call import GatheredCall


async def _made(calls: "asyncio.Queue[None]") -> None:
    async with asyncio.timeout(10):
        await calls.get()


async def test_many_who_ask_at_once_are_served_by_one_call() -> None:
    """Those who ask after it get another."""
    calls: asyncio.Queue[None] = asyncio.Queue()
    call = GatheredCall(lambda: calls.put_nowait(None))
    for _ in range(100):
        call.soon()
    early = calls.qsize()
    await _made(calls)
    call.soon()
    await _made(calls)

    assert (0, 0) == (early, calls.qsize())


async def test_call_made_now_serves_those_who_wait() -> None:
    """What they would have had does not come besides: the next one comes when it is asked for."""
    calls: asyncio.Queue[None] = asyncio.Queue()
    call = GatheredCall(lambda: calls.put_nowait(None))
    call.soon()
    call.now()
    before = calls.qsize()
    await _made(calls)
    call.soon()
    await _made(calls)

    assert (1, 0) == (before, calls.qsize())
