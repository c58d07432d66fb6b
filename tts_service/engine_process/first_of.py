"""Waits for whichever comes first: something, the word to stop, or the end of work that should not end."""

import asyncio


async def first_of(event: asyncio.Event, stop: asyncio.Event, work: "asyncio.Task[None]") -> bool:
    """Wait for an event, and tell whether it came before the word to stop. Raises what ends the work."""
    waits = [asyncio.ensure_future(each.wait()) for each in (event, stop)]
    try:
        await asyncio.wait({work, *waits}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    if work.done():
        work.result()
    return event.is_set()
