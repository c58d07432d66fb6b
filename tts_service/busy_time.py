"""How long at least one of several threads has worked."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self


class BusyTime:
    """Seconds in which something was computed, by one thread or by several at once: both count the same.

    A block of work is a `with` statement.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._working = 0
        self._since = 0.0
        self._seconds = 0.0

    def working(self) -> Self:
        """Work for the length of a block."""
        return self

    def begin(self) -> None:
        """Begin to work."""
        with self._lock:
            if not self._working:
                self._since = self._clock()
            self._working += 1

    def end(self) -> None:
        """End what was begun."""
        with self._lock:
            self._count()
            self._working -= 1

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def taken(self) -> float:
        """Return the seconds since they were last taken."""
        with self._lock:
            self._count()
            seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _count(self) -> None:
        if self._working:
            now = self._clock()
            self._seconds += now - self._since
            self._since = now

    def __repr__(self) -> str:
        return f"<BusyTime {self._seconds:.3f} s | {self._working} work>"


@contextmanager
def all_working(times: Sequence[BusyTime]) -> Iterator[None]:
    """Work for all of these at once for the length of a block."""
    for each in times:
        each.begin()
    try:
        yield
    finally:
        for each in times:
            each.end()
