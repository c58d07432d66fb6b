"""A view that fills the terminal until the operator leaves, and leaves the terminal as it was."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from rich.console import Console, RenderableType
from rich.live import Live

REDRAW_SECONDS = 0.25


def show(console: Console, draw: Callable[[], RenderableType]) -> NoReturn:
    """Draw four times a second on the terminal's other screen, until Ctrl-C (KeyboardInterrupt) or SIGTERM."""
    with _leaving_in_order(), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(draw(), refresh=True)
            time.sleep(REDRAW_SECONDS)


@contextmanager
def _leaving_in_order() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exit that passes through every `finally`, so that the screen is given back."""
    before = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
