"""Single keys from a terminal, without echo and without waiting for Enter; the terminal is left as it was."""

import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from memctl.tuning import Key

READ_BYTES = 1_024
_SEQUENCES: dict[bytes, Key] = {
    b"\x1b[A": Key.UP,
    b"\x1bOA": Key.UP,
    b"\x1b[B": Key.DOWN,
    b"\x1bOB": Key.DOWN,
    b"\x1b[C": Key.MORE,
    b"\x1bOC": Key.MORE,
    b"\x1b[D": Key.LESS,
    b"\x1bOD": Key.LESS,
    b"\x1b[Z": Key.BEFORE,
    b"\x1b": Key.ESCAPE,
    b"\t": Key.NEXT,
    b"\r": Key.ENTER,
    b"\n": Key.ENTER,
    b"k": Key.UP,
    b"j": Key.DOWN,
    b"+": Key.MORE,
    b"=": Key.MORE,
    b"-": Key.LESS,
    **{key.value.encode(): key for key in Key if len(key.value) == 1},
}


class Keys(Protocol):
    """Where keys come from."""

    def wait(self, seconds: float) -> list[Key]:
        """Wait for so long at most, and return the keys that were pressed."""


class Keyboard:
    """The keys of a terminal in cbreak mode; Ctrl-C still interrupts."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._gone = False

    def wait(self, seconds: float) -> list[Key]:
        """Wait for so long at most, and return the keys that were pressed; nothing from a terminal that is gone."""
        watched = [] if self._gone else [self._descriptor]
        ready, _, _ = select.select(watched, [], [], seconds)
        if not ready:
            return []
        try:
            typed = os.read(self._descriptor, READ_BYTES)
        except OSError:
            typed = b""
        self._gone = not typed
        return keys_in(typed)

    def __repr__(self) -> str:
        return f"<Keyboard {self._descriptor}{' gone' if self._gone else ''}>"


def keys_in(typed: bytes) -> list[Key]:
    """Return the keys in what a terminal sent, in order; what means nothing here is passed over."""
    found, at = [], 0
    while at < len(typed):
        sequence = next((typed[at : at + size] for size in (3, 1) if typed[at : at + size] in _SEQUENCES), b"")
        if sequence:
            found.append(_SEQUENCES[sequence])
        at += max(1, len(sequence))
    return found


@contextmanager
def keyboard() -> Iterator[Keyboard | None]:
    """Give the keys of standard input; None where that is no terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    descriptor = sys.stdin.fileno()
    before: list[Any] = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield Keyboard(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
