"""What one control stream has still to say, between those who know it and the thread that writes it.

A reader that is slow or gone must not hold up anybody: replies are few and make their own sender wait, and of the
reports only the fact that one is due is kept, so that the newest is always the one that is sent.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

from tts_service.errors import GreenroomError

Reply = TypeVar("Reply")


class Due(Enum):
    """Something to be made at the moment of sending."""

    REPORT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Nothing more to say: the stream ends, with an error if there is one."""

    error: GreenroomError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often reports go out: at most every `minimum_seconds`, and every `period_seconds` (None: on change only)."""

    minimum_seconds: float
    period_seconds: float | None = None

    def due_seconds(self, last_seconds: float, *, changed: bool) -> float | None:
        """Return when the next report is due after the last, None for not before a change."""
        if changed:
            return last_seconds + self.minimum_seconds
        return None if self.period_seconds is None else last_seconds + self.period_seconds

    def overdue(self, last_seconds: float, now_seconds: float) -> bool:
        """Tell whether the regular report is late, so that replies must let it pass."""
        return self.period_seconds is not None and now_seconds >= last_seconds + self.period_seconds


class ControlOutbox(Generic[Reply]):
    """One stream's replies, the fact that a report is due, and its end; guarded by one lock."""

    def __init__(self, *, clock: Callable[[], float], pace: Pace, reply_limit: int) -> None:
        self._clock = clock
        self._pace = pace
        self._reply_limit = reply_limit
        self._wake = threading.Condition()
        self._replies: deque[Reply] = deque()
        self._opened = False
        self._changed = False
        self._last_report_seconds = 0.0
        self._end: End | None = None

    def __repr__(self) -> str:
        state = "closed" if self._end else "open" if self._opened else "waiting"
        return f"<ControlOutbox {state} replies={len(self._replies)} changed={self._changed}>"

    @property
    def closed(self) -> bool:
        """Whether the stream has been told to end."""
        return self._end is not None

    def open(self, first: Reply) -> None:
        """Say the first thing, which counts as a report; nothing goes out before it."""
        with self._wake:
            self._replies.append(first)
            self._opened = True
            self._last_report_seconds = self._clock()
            self._wake.notify_all()

    def wait_opened(self, timeout_seconds: float) -> bool:
        """Wait for the first thing, or the end; False if neither came in time."""
        with self._wake:
            return self._wake.wait_for(lambda: self._opened or self.closed, timeout_seconds)

    def reply(self, message: Reply) -> bool:
        """Queue an answer, waiting for room; False if the stream has ended."""
        with self._wake:
            self._wake.wait_for(lambda: self.closed or len(self._replies) < self._reply_limit)
            if self.closed:
                return False
            self._replies.append(message)
            self._wake.notify_all()
            return True

    def note_change(self) -> None:
        """Remember that there is something new to report; who has been told so already is not woken again."""
        with self._wake:
            if not self._changed:
                self._changed = True
                self._wake.notify_all()

    def close(self, error: GreenroomError | None = None) -> None:
        """End the stream after the replies that are waiting; the first word on how it ends counts."""
        with self._wake:
            if self._end is None:
                self._end = End(error=error)
            self._wake.notify_all()

    def take(self) -> Reply | Due | End:
        """Wait for the next thing to say."""
        with self._wake:
            while (item := self._next()) is None:
                self._wake.wait(self._rest_seconds())
            self._wake.notify_all()
            return item

    def _next(self) -> Reply | Due | End | None:
        now_seconds = self._clock()
        if self._replies and not (self.closed or self._pace.overdue(self._last_report_seconds, now_seconds)):
            return self._replies.popleft()
        if self._end is not None:
            return self._replies.popleft() if self._replies else self._end
        due_seconds = self._due_seconds()
        if due_seconds is not None and now_seconds >= due_seconds:
            self._changed = False
            self._last_report_seconds = now_seconds
            return Due.REPORT
        return None

    def _due_seconds(self) -> float | None:
        if not self._opened:
            return None
        return self._pace.due_seconds(self._last_report_seconds, changed=self._changed)

    def _rest_seconds(self) -> float | None:
        due_seconds = self._due_seconds()
        return None if due_seconds is None else max(0.0, due_seconds - self._clock())
