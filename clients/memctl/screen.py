"""A view that fills the terminal until the operator leaves, and leaves the terminal as it was."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from rich.console import Console, RenderableType
from rich.live import Live

from memctl.keyboard import Keyboard, keyboard
from memctl.tuning import Key

REDRAW_SECONDS = 0.25


def show(console: Console, draw: Callable[[], RenderableType], on_key: Callable[[Key], bool]) -> None:
    """Draw four times a second, and after every key, on the terminal's other screen.

    It ends when `on_key` says so (True), on Ctrl-C (KeyboardInterrupt) or on SIGTERM.
    """
    with _leaving_in_order(), keyboard() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        left = False
        while not left:
            live.update(draw(), refresh=True)
            left = any(on_key(key) for key in _pressed(keys))


def _pressed(keys: Keyboard | None) -> list[Key]:
    if keys is not None:
        return keys.wait(REDRAW_SECONDS)
    time.sleep(REDRAW_SECONDS)
    return []


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
