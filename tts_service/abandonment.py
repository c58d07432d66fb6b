"""Waits of speech that somebody may give up: those whose audio nobody wants any more."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

OnWait = Callable[[Callable[[], object]], None]
"""Is given what ends a wait."""


class StepAbandonedError(Exception):
    """Nobody waits any more for what a step needs, and it was not begun."""


async def abandonable(wait: "asyncio.Future[Result]") -> Result:
    """Wait for something. Raises StepAbandonedError if it, and not the task that waits, is cancelled."""
    try:
        return await wait
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise StepAbandonedError from None
