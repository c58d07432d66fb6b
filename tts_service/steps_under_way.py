"""Which steps are being taken, and since when: a step that never ends is a kernel that hangs."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class StepsUnderWay:
    """Counts from any thread. A lock is not needed: each entry belongs to one thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began: dict[int, float] = {}

    def taking(self) -> Self:
        """Take a step in this thread for the length of a block."""
        return self

    def __enter__(self) -> None:
        self._began[threading.get_ident()] = self._clock()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        del self._began[threading.get_ident()]

    @property
    def longest_seconds(self) -> float | None:
        """How long the longest of those under way has taken; None if there is none."""
        began = tuple(self._began.values())
        return self._clock() - min(began) if began else None

    def __repr__(self) -> str:
        return f"<StepsUnderWay {len(self._began)}>"
