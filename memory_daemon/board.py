"""What the daemon sees and does, for those who watch: the newest snapshot, handed to each watcher as fast as it reads.

A watcher that is slow gets the newest snapshot when it comes back, never a queue of old ones.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, takewhile

from memory_daemon.errors import DaemonError, Reason
from memory_daemon.kept_policy import KeptPolicy
from memory_daemon.link_view import LinkView
from memory_daemon.marks import Marks
from memory_daemon.past import Past, follow
from memory_daemon.predictions import Predictions
from memory_daemon.types import Decided, Freeze, Override, Pressure, Sample, ServiceName, Wish
from memory_daemon.usage import HostReading


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """One device: its newest sample, and where it stands; `marks` None while memory cannot be read.

    `budgets` is how it is divided between services, `overdraft_bytes` what their floors promise beyond what is there.
    """

    sample: Sample
    pressure: Pressure
    marks: Marks | None
    predictions: Predictions = field(default_factory=Predictions)
    budgets: Mapping[ServiceName, int] = field(default_factory=dict)
    overdraft_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All that the daemon sees and does; `decisions` newest first, `wishes` what is wanted of each service now.

    `host` is host memory beside GPUs, None where it is not read for them.
    """

    holder_id: str
    kept: KeptPolicy
    devices: tuple[DeviceStatus, ...] = ()
    services: tuple[LinkView, ...] = ()
    overrides: tuple[Override, ...] = ()
    decisions: tuple[Decided, ...] = ()
    wishes: Mapping[ServiceName, Wish] = field(default_factory=dict)
    freeze: Freeze | None = None
    host: HostReading | None = None
    host_short: bool = False


class Board:
    """The newest status, and what is remembered of those before it."""

    def __init__(self, *, first: Status, watchers_maximum: int) -> None:
        self._watchers_maximum = watchers_maximum
        self._changed = threading.Condition()
        self._status = first
        self._past = Past()
        self._number = 0
        self._watchers = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<Board status {self._number} | {self._watchers} watchers>"

    @property
    def status(self) -> Status:
        """The newest status."""
        return self._status

    @property
    def past(self) -> Past:
        """What is remembered up to the newest status."""
        return self._past

    def publish(self, status: Status) -> None:
        """Show a new status to all who watch; waits for nobody."""
        past = follow(
            self._past,
            tuple(device.sample for device in status.devices),
            status.decisions,
            tuple(view.service for view in status.services),
        )
        with self._changed:
            self._status, self._past = status, past
            self._number += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Send the watchers home."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @contextlib.contextmanager
    def watch(self) -> Iterator["Watcher"]:
        """Take a watcher's place; raises DaemonError AT_CAPACITY if all are taken."""
        with self._changed:
            if self._watchers >= self._watchers_maximum:
                words = f"{self._watchers_maximum} watchers are connected, which is the most"
                raise DaemonError(Reason.AT_CAPACITY, words, retry_after_seconds=1.0)
            self._watchers += 1
        try:
            yield Watcher(board=self)
        finally:
            with self._changed:
                self._watchers -= 1

    def wait_beyond(self, number: int, gone: "Watcher") -> tuple[int, Status] | None:
        """Wait for a status newer than that number; None when the board closes or the watcher is gone."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or gone.gone or self._number > number)
            return None if self._closed or gone.gone else (self._number, self._status)

    def wake(self) -> None:
        """Let watchers look whether they are gone."""
        with self._changed:
            self._changed.notify_all()


class Watcher:
    """One who watches."""

    def __init__(self, *, board: Board) -> None:
        self._board = board
        self._number = -1
        self.gone = False

    def __repr__(self) -> str:
        return f"<Watcher at status {self._number}{' gone' if self.gone else ''}>"

    def leave(self) -> None:
        """Stop watching; called from another thread."""
        self.gone = True
        self._board.wake()

    def statuses(self) -> Iterator[Status]:
        """Yield the status as it is, then every new one that is there when the last has been dealt with."""
        for _ in takewhile(lambda _: not self.gone, count()):
            newest = self._board.wait_beyond(self._number, self)
            if newest is None:
                return
            self._number, status = newest
            yield status
