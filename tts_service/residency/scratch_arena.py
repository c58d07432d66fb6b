"""Memory at fixed addresses for what is worth nothing between two uses: caches of keys and values, work space.

It has no host master: what is in it after it came back is undefined. So it is for memory that everybody writes before
reading it, and for nothing that was written once and is only read since, such as what a graph's own pool keeps from its
capture.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import torch

from tts_service.residency.address_range import AddressRange
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.device_driver import DeviceDriver, DeviceDriverError
from tts_service.residency.module_tensors import ALIGNMENT_BYTES
from tts_service.residency.raw_tensor import storage_over, strided_over
from tts_service.residency.stray_cover import StrayCover
from tts_service.residency.use_record import UseRecord

_log = structlog.get_logger(__name__)


class ScratchArena:
    """So many bytes of addresses. One thread at a time brings it and gives it back; `uses` are any thread's."""

    def __init__(
        self, name: str, byte_count: int, *, driver: DeviceDriver, gate: CaptureGate, cover: StrayCover | None = None
    ) -> None:
        self.uses = UseRecord(name)
        self._name = name
        self._driver = driver
        self._gate = gate
        self._range = AddressRange(driver, byte_count, cover=cover)
        self._taken = 0
        self._failure: DeviceDriverError | None = None

    def __repr__(self) -> str:
        there = "broken" if self._failure else ("mapped" if self.is_mapped else "away")
        return f"<ScratchArena {self._name} {there} | {self._taken} of {self.byte_count} bytes given>"

    @property
    def byte_count(self) -> int:
        """What it takes of the device while it is there."""
        return self._range.byte_count

    @property
    def is_mapped(self) -> bool:
        """Whether it takes memory of the device."""
        return self._range.is_mapped

    @property
    def failure(self) -> DeviceDriverError | None:
        """What broke it for good, if anything did."""
        return self._failure

    def tensor(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Return the next part of it as a tensor, for life. Raises ValueError if so much is not left."""
        begin = -(-self._taken // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        byte_count = torch.Size(shape).numel() * dtype.itemsize
        if begin + byte_count > self.byte_count:
            raise ValueError(f"{self._name} has {self.byte_count - begin} bytes left, not {byte_count}")
        self._taken = begin + byte_count
        storage = storage_over(self._driver.device, self._range.address + begin, byte_count)
        return strided_over(storage, self._driver.device, dtype=dtype, shape=shape)

    @contextmanager
    def using(self) -> Iterator[None]:
        """Use it: it is not given back inside, nor before the device has done what this thread's stream was told."""
        self.uses.enter()
        try:
            yield
        finally:
            self.uses.leave(self._driver.used())

    def bring(self) -> None:
        """Put memory behind the addresses. Raises DeviceMemoryError or DeviceDriverError, and then takes nothing."""
        if self._failure is not None:
            raise self._failure
        with self._moving():
            self._range.map()

    def give_back(self) -> int:
        """Give the memory back and return its bytes, as `Arena.evict` does. Raises ArenaInUseError."""
        self.uses.check_unused()
        try:
            with self._moving():
                self.uses.wait()
                self._range.unmap()
        except DeviceDriverError as error:
            self._failure = error
            _log.exception("arena_broken", module=self._name, call=error.call)
            return 0
        return self.byte_count

    def close(self) -> None:
        """Give back everything, addresses included; no tensor of it may be used after that."""
        with self._moving():
            self.uses.wait()
            self._range.close()

    @contextmanager
    def _moving(self) -> Iterator[None]:
        with self._gate.moving():
            self._driver.make_current()
            yield
