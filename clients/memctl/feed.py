"""Statuses for a live view, across restarts of the daemon.

A thread reads the stream and, when it breaks, dials again with a back-off; the view takes the newest status whenever
it likes, and learns how long the line has been down.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from memctl.errors import MemctlError
from memctl.line import (
    LONGEST_BACK_OFF_SECONDS,
    PAST_SECONDS,
    Glimpse,
    Line,
    back_off_seconds,
    line_lost,
    with_points,
)
from memctl.link import PolicyLink, StatusStream
from memctl.types import Status


class StatusFeed:
    """Keeps the newest status. `start` begins reading, `stop` ends it; both once."""

    def __init__(
        self,
        open_link: Callable[[], AbstractContextManager[PolicyLink]],
        first: Status,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._open_link = open_link
        self._clock = clock
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._stream: StatusStream | None = None
        self._glimpse = Glimpse(status=first, received_unix_seconds=clock(), line=Line())
        self._thread = threading.Thread(target=self._run, name="memctl-feed", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End reading, and wait for it."""
        self._stopped.set()
        self._cancel()
        self._thread.join(timeout=LONGEST_BACK_OFF_SECONDS)

    def glimpse(self) -> Glimpse:
        """Return the newest status and how the line is."""
        with self._lock:
            return self._glimpse

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._open_link() as link:
                    self._follow(link)
            except MemctlError as error:
                self._lose(error.happened)
            self._stopped.wait(back_off_seconds(self.glimpse().line.attempts))

    def _follow(self, link: PolicyLink) -> None:
        stream = link.watch(past_seconds=PAST_SECONDS)
        with self._lock:
            self._stream = stream
        if self._stopped.is_set():
            stream.cancel()
        for status in stream:
            points = with_points(stream.past or self.glimpse().points, status)
            stream.past = ()
            self._keep(Glimpse(status=status, received_unix_seconds=self._clock(), line=Line(), points=points))

    def _lose(self, cause: str) -> None:
        glimpse = self.glimpse()
        self._keep(replace(glimpse, line=line_lost(glimpse.line, cause, self._clock())))

    def _keep(self, glimpse: Glimpse) -> None:
        with self._lock:
            self._glimpse = glimpse

    def _cancel(self) -> None:
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.cancel()

    def __repr__(self) -> str:
        glimpse = self.glimpse()
        state = "up" if glimpse.line.down_unix_seconds is None else f"down after {glimpse.line.attempts} dials"
        return f"<StatusFeed {state}>"
