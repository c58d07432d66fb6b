"""The lock around the register, and what follows every change: a decision, answers, announcements.

Answers go out at once: somebody waits for a module. Announcements can wait until those who move have nothing to move
any more, because whoever hears them (reports, health) takes Python's lock from those who speak.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

import structlog

from tts_service.residency.register import Register

Listener = Callable[[], None]

_log = structlog.get_logger(__name__)


class _Reading:
    """The lock, held for a block. One object does for all: every step of speech has two."""

    __slots__ = ("_lock", "_register")

    def __init__(self, lock: threading.RLock, register: Register) -> None:
        self._lock = lock
        self._register = register

    def __enter__(self) -> Register:
        self._lock.acquire()
        return self._register

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.release()

    def __repr__(self) -> str:
        return f"<_Reading of {self._register!r}>"


class Guard:
    """Lets one thread at a time at the register.

    `changed` is notified of every change; of the same lock are `queued`, for whoever makes moves, and `rescheduled`,
    for whoever keeps time: of changes after which time alone changes something at another time than before.
    """

    def __init__(self, register: Register, *, clock: Callable[[], float]) -> None:
        self.clock = clock
        lock = threading.RLock()
        self.changed = threading.Condition(lock)
        self.queued = threading.Condition(lock)
        self.rescheduled = threading.Condition(lock)
        self._register = register
        self._reading = _Reading(lock, register)
        self._listeners: tuple[Listener, ...] = ()
        self._seen = register.visible()
        self._untold = False

    def __repr__(self) -> str:
        return f"<Guard of {self._register!r} | {len(self._listeners)} listeners>"

    def reading(self) -> _Reading:
        """Hold the lock for a look, or for a change from which nothing can follow."""
        return self._reading

    @contextmanager
    def changing(self, *, announces: bool = True) -> Iterator[Register]:
        """Hold the lock for a change; what follows from it is decided before, and told after the lock is let go.

        Without `announces`, listeners hear of it with the next change, or from `announce`.
        """
        with self.changed:
            due_seconds = self._register.next_seconds()
            yield self._register
            outcomes = self._register.settle(now_seconds=self.clock())
            before, self._seen = self._seen, self._register.visible()
            self._untold = self._untold or self._seen != before
            self.changed.notify_all()
            if self._register.jobs:
                self.queued.notify_all()
            if self._register.next_seconds() != due_seconds:
                self.rescheduled.notify_all()
        for outcome in outcomes:
            outcome()
        if announces:
            self.announce()

    def announce(self) -> None:
        """Call listeners if anything has changed since they were called last."""
        with self.changed:
            told, self._untold = self._listeners if self._untold else (), False
        for listener in told:
            _tell(listener)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call a listener after every change, from any thread, until the result is called."""
        with self.changed:
            self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            with self.changed:
                self._listeners = tuple(known for known in self._listeners if known is not listener)

        return unsubscribe


def _tell(listener: Listener) -> None:
    try:
        listener()
    except Exception:  # noqa: BLE001 - a listener's fault is not the fault of whoever made the change, nor of other listeners.
        _log.exception("residency_listener_failed")
