"""The lock around the register, and what follows every change: a decision, answers, announcements."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from tts_service.residency.register import Register

Listener = Callable[[], None]

_log = structlog.get_logger(__name__)


class Guard:
    """Lets one thread at a time at the register; its condition is notified of every change."""

    def __init__(self, register: Register, *, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.changed = threading.Condition()
        self._register = register
        self._listeners: tuple[Listener, ...] = ()

    def __repr__(self) -> str:
        return f"<Guard of {self._register!r} | {len(self._listeners)} listeners>"

    @contextmanager
    def reading(self) -> Iterator[Register]:
        """Hold the lock for a look, or for a change from which nothing can follow."""
        with self.changed:
            yield self._register

    @contextmanager
    def changing(self) -> Iterator[Register]:
        """Hold the lock for a change; what follows from it is decided before, and told after the lock is let go."""
        with self.changed:
            before = self._register.visible()
            yield self._register
            outcomes = self._register.settle(now_seconds=self.clock())
            announced = self._listeners if self._register.visible() != before else ()
            self.changed.notify_all()
        for outcome in outcomes:
            outcome()
        for listener in announced:
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
