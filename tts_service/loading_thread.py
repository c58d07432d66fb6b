"""Runs the long steps of a start in a thread, so that health and control answer, and a signal ends them."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from tts_service.load_progress import LoadProgress, StartEndedError

Result = TypeVar("Result")

END_SECONDS = 20.0
"""How long a step that is to end may take to notice. Importing a package takes seconds, and hears of it after each."""


async def run_loading(
    step: Callable[[], Result],
    *,
    stop: asyncio.Event,
    progress: LoadProgress,
    end_seconds: float = END_SECONDS,
) -> Result:
    """Return what a step returns, which runs in a thread of its own and tells `progress` how far it is.

    Raises what it raises, and StartEndedError if `stop` is set first: then when the step has noticed, or at last after
    `end_seconds`, with the thread left behind for the end of the process.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Result] = loop.create_future()
    threading.Thread(target=_work, args=(step, loop, result), name="loading", daemon=True).start()
    stopping = asyncio.ensure_future(stop.wait())
    try:
        awaited: set[asyncio.Future[Any]] = {result, stopping}
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            return result.result()
        progress.end()
        await asyncio.wait({result}, timeout=end_seconds)
        if result.done() and not result.cancelled():
            result.exception()  # Whatever it was, nobody waits for it any more.
        raise StartEndedError("the service was told to end while it started")
    finally:
        stopping.cancel()


def _work(step: Callable[[], Result], loop: asyncio.AbstractEventLoop, result: "asyncio.Future[Result]") -> None:
    try:
        found = step()
    except BaseException as error:  # noqa: BLE001  # It belongs to whoever waits.
        failure = error
        _tell(loop, result, lambda: result.set_exception(failure))
    else:
        _tell(loop, result, lambda: result.set_result(found))


def _tell(loop: asyncio.AbstractEventLoop, result: "asyncio.Future[Result]", tell: Callable[[], None]) -> None:
    """Hand the outcome over, unless nobody waits any more or the loop has gone."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(lambda: None if result.done() else tell())
