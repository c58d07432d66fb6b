"""Locked host memory for what waits off the device: pages of one size, made one by one as they are first needed.

It is bounded, and counted with what is locked. A page takes the system some milliseconds to make, so that nobody makes
more than one at a time; those that are given back are kept for the next, until they are trimmed.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import structlog
import torch

from tts_service.models.host_pages import own_pages
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.cuda_driver import new_stream
from tts_service.residency.device_driver import DeviceDriver, DeviceDriverError
from tts_service.residency.types import WaitingUsage

_log = structlog.get_logger(__name__)


class LockedPages:
    """Pages of this shape, `most_bytes` of them at most. Any thread may give, trim and ask for the usage.

    Copies are on a stream of its own. Where memory cannot be locked there is no room from then on: copies would hold up
    whoever asks for them.
    """

    def __init__(
        self,
        driver: DeviceDriver,
        gate: CaptureGate,
        shape: Sequence[int],
        *,
        dtype: torch.dtype,
        most_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._driver = driver
        self._gate = gate
        self._shape = tuple(shape)
        self._dtype = dtype
        self._most_bytes = most_bytes
        self._most = most_bytes // self.page_bytes
        self._clock = clock
        self._lock = Lock()
        self._made = 0
        self._free: list[torch.Tensor] = []
        self._segments = 0
        self._departures = 0
        self._refusals = 0
        self._away_seconds = 0.0
        self._counted_at = clock()
        self._stream = new_stream(driver.device) if driver.device.type == "cuda" else None

    def __repr__(self) -> str:
        used = self._made - len(self._free)
        return f"<LockedPages {used} of {self._made} used, {self._most} at most | {self.page_bytes} bytes each>"

    @property
    def page_bytes(self) -> int:
        """What a page takes."""
        return torch.Size(self._shape).numel() * self._dtype.itemsize

    def holds(self, count: int) -> bool:
        """Tell whether so many pages more are within the bound; who asks in vain is counted."""
        with self._lock:
            is_held = self._made - len(self._free) + count <= self._most
            self._refusals += not is_held
        return is_held

    def ready(self, count: int) -> bool:
        """Make a page more, unless so many are free; tells whether they are."""
        if len(self._free) >= count:
            return True
        page = own_pages(self.page_bytes)
        try:
            with self._moving():
                self._driver.register(page.data_ptr(), page.nbytes)
        except DeviceDriverError as error:
            _log.warning("host_memory_not_pinned", module="waiting", bytes=page.nbytes, reason=error.reason)
            self._most = 0
            return False
        with self._lock:
            self._made += 1
            self._free.append(page.view(self._dtype).view(self._shape))
            return len(self._free) >= count

    def take(self, count: int) -> Sequence[torch.Tensor]:
        """Return so many pages that are ready: one segment's."""
        with self._lock:
            assert count <= len(self._free), "they were to be made ready"
            self._count(1)
            self._departures += 1
            taken, self._free = self._free[:count], self._free[count:]
        return taken

    def give(self, pages: Sequence[torch.Tensor]) -> None:
        """Give a segment's pages back."""
        with self._lock:
            self._count(-1)
            self._free.extend(pages)

    def trim(self) -> int:
        """Give the system what nobody uses, and return its bytes. Waits for copies that are under way."""
        if not self._free:
            return 0
        with self._moving():
            return self.close()

    def close(self) -> int:
        """Do what `trim` does, within `ScratchSpace.moving`."""
        with self._lock:
            spare, self._free = self._free, []
            self._made -= len(spare)
        try:
            for page in spare:
                self._driver.unregister(page.data_ptr())
        except DeviceDriverError:
            # The pages go with the process.
            _log.exception("host_memory_not_unlocked", module="waiting")
        return len(spare) * self.page_bytes

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Ask for copies inside: after what this thread's stream was told, beside what it is told next."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._driver.device))
        with torch.cuda.stream(self._stream):
            yield

    def join(self) -> None:
        """Let this thread's stream wait for all copies so far."""
        if self._stream is not None:
            torch.cuda.current_stream(self._driver.device).wait_stream(self._stream)

    def usage(self) -> WaitingUsage:
        """Return what waits, and what has."""
        with self._lock:
            self._count(0)
            return WaitingUsage(
                segments=self._segments,
                used_bytes=(self._made - len(self._free)) * self.page_bytes,
                held_bytes=self._made * self.page_bytes,
                most_bytes=self._most_bytes,
                departures=self._departures,
                refusals=self._refusals,
                away_seconds=self._away_seconds,
            )

    def _count(self, change: int) -> None:
        now = self._clock()
        self._away_seconds += self._segments * (now - self._counted_at)
        self._counted_at = now
        self._segments += change

    @contextmanager
    def _moving(self) -> Iterator[None]:
        with self._gate.moving():
            self._driver.make_current()
            yield
