"""How long at least one of several threads has worked."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class BusyTime:
    """Seconds in which something was computed, by one thread or by several at once: both count the same."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._working = 0
        self._since = 0.0
        self._seconds = 0.0

    @contextmanager
    def working(self) -> Iterator[None]:
        """Work for the length of a block."""
        with self._lock:
            if not self._working:
                self._since = self._clock()
            self._working += 1
        try:
            yield
        finally:
            with self._lock:
                self._count()
                self._working -= 1

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
