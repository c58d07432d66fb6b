"""Reads modules' weights before they are asked for, while Python is busy importing: reading hardly needs its lock.

Weights that are read and not yet taken are held besides those that were taken, so no more than `MOST_UNTAKEN` are.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from tts_service.models.chatterbox.host_master import HostMaster
from tts_service.types import ModuleName

Progress = Callable[[int, int], None]
"""Takes the bytes that are done, and all that there are."""

Read = Callable[[Progress], HostMaster]
"""Reads one module's weights, telling how far it is; what that raises ends it."""

MOST_UNTAKEN: Final = 2
"""T3 and the flow: what is read by the time that everything is imported."""

END_SECONDS: Final = 10.0
"""How long the piece that is being read may take."""

TOLD_SECONDS: Final = 0.05
"""How often whoever waits for weights tells how far they are."""


class ReadEndedError(Exception):
    """Weights are not wanted any more."""


def _nothing() -> None:
    """Never end."""


class _Reading:
    """One module's weights on their way."""

    def __init__(self, module: ModuleName, read: Read) -> None:
        self.module = module
        self.read = read
        self.result: Future[HostMaster] = Future()
        self.far = (0, 0)

    def __repr__(self) -> str:
        return f"<_Reading {self.far[0]} of {self.far[1]} bytes>"


class ReadAhead:
    """A thread that reads what it is asked for, in that order; it ends when there is nothing to read.

    `check` is called at every piece and raises if reading is to end. `span` gives a block for the time of a module.
    """

    def __init__(
        self,
        check: Callable[[], None] = _nothing,
        *,
        span: Callable[[ModuleName], AbstractContextManager[None]] = lambda _module: nullcontext(),
    ) -> None:
        self._check = check
        self._span = span
        self._lock = threading.Condition()
        self._wanted: deque[_Reading] = deque()
        self._known: dict[ModuleName, _Reading] = {}
        self._begun = 0
        self._is_reading = False
        self._ended = False
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<ReadAhead {' '.join(self._known) or 'of nothing'} | {len(self._wanted)} to begin>"

    def begin(self, module: ModuleName, read: Read) -> None:
        """Have a module's weights read, after those that were asked for before."""
        with self._lock:
            reading = self._known[module] = _Reading(module, read)
            self._wanted.append(reading)
            if not self._is_reading:
                self._is_reading = True
                self._thread = threading.Thread(target=self._work, name="weights ahead", daemon=True)
                self._thread.start()

    def take(self, module: ModuleName, progress: Progress) -> HostMaster | None:
        """Return a module's weights, once; None if nobody has begun to read them. Raises what reading raised."""
        with self._lock:
            reading = self._known.pop(module, None)
            if reading is None:
                return None
            if reading in self._wanted:
                self._wanted.remove(reading)
                return None
        try:
            master = self._awaited(reading, progress)
        finally:
            with self._lock:
                self._begun -= 1
                self._lock.notify_all()
        progress(*reading.far)
        return master

    def end(self) -> None:
        """Stop reading, and let go of what nobody took; return once the thread has ended, which a piece takes.

        A process that ends while a thread is in C++ code is aborted.
        """
        with self._lock:
            self._ended = True
            self._wanted.clear()
            self._known.clear()
            self._lock.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(END_SECONDS)

    def _awaited(self, reading: _Reading, progress: Progress) -> HostMaster:
        while True:
            try:
                return reading.result.result(TOLD_SECONDS)
            except TimeoutError:
                if reading.result.done():
                    raise
                progress(*reading.far)

    def _work(self) -> None:
        while (reading := self._next()) is not None:
            try:
                with self._span(reading.module):
                    master = reading.read(self._teller(reading))
            except BaseException as error:  # noqa: BLE001  # It belongs to whoever takes the weights.
                reading.result.set_exception(error)
            else:
                reading.result.set_result(master)
                del master
            del reading

    def _next(self) -> _Reading | None:
        with self._lock:
            while self._wanted and self._begun >= MOST_UNTAKEN:
                self._lock.wait()
            if not self._wanted:
                self._is_reading = False
                return None
            self._begun += 1
            return self._wanted.popleft()

    def _teller(self, reading: _Reading) -> Progress:
        def told(done_bytes: int, total_bytes: int) -> None:
            reading.far = (done_bytes, total_bytes)
            self._check()
            if self._ended:
                raise ReadEndedError

        return told
