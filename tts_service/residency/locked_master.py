"""An arena's weights in host memory: locked, of exactly the bytes that the arena needs, and never written again."""

from collections.abc import Iterator, Sequence
from typing import Final

import structlog
import torch

from tts_service.models.host_pages import own_pages
from tts_service.residency.arena_layout import ArenaLayout, Part
from tts_service.residency.device_driver import DeviceDriver, DeviceDriverError

CHUNK_BYTES: Final = 32 << 20
"""Of a copy. Measured on an H100: 54.6 GB/s, as for the whole at once; other copies get their turn between chunks."""

_log = structlog.get_logger(__name__)


class LockedMaster:
    """Host memory of one module, locked until `unlock`. `name` is for the log.

    What the layout adopts is the memory that the module was loaded into; what it packs is copied into pages of its own.
    """

    def __init__(self, name: str, layout: ArenaLayout, driver: DeviceDriver) -> None:
        self._name = name
        self._parts = (*layout.adopted, *_packed(layout))
        self._driver = driver
        self._locked: list[int] = []
        for part in self._parts:
            self._lock(part.host)

    def __repr__(self) -> str:
        return f"<LockedMaster {self._name} | {self.byte_count} bytes in {len(self._parts)} parts>"

    @property
    def byte_count(self) -> int:
        """What it holds of host memory."""
        return sum(part.host.nbytes for part in self._parts)

    @property
    def locked_bytes(self) -> int:
        """What the system cannot take of that."""
        return sum(part.host.nbytes for part in self._parts if part.host.data_ptr() in self._locked)

    def begin_copies(self, address: int) -> None:
        """Begin to copy everything to the arena at this address, in chunks."""
        for part in self._parts:
            source, target = part.host.data_ptr(), address + part.begin
            for begin in range(0, part.host.nbytes, CHUNK_BYTES):
                count = min(CHUNK_BYTES, part.host.nbytes - begin)
                self._driver.copy(target + begin, source + begin, count)

    def unlock(self) -> None:
        """Let the pages go where the system wants them; copies must have ended."""
        for address in self._locked:
            try:
                self._driver.unregister(address)
            except DeviceDriverError:
                # The pages go with the process; a module that leaves memory is not kept from it.
                _log.exception("host_memory_not_unlocked", module=self._name)
        self._locked.clear()

    def _lock(self, host: torch.Tensor) -> None:
        try:
            self._driver.register(host.data_ptr(), host.nbytes)
        except DeviceDriverError as error:
            # Copies still work, at a fraction of the rate.
            _log.warning("host_memory_not_pinned", module=self._name, bytes=host.nbytes, reason=error.reason)
        else:
            self._locked.append(host.data_ptr())


def _packed(layout: ArenaLayout) -> Iterator[Part]:
    """Copy what is packed into one piece of memory, and yield that."""
    byte_count = layout.byte_count - layout.packed_begin
    if byte_count:
        memory = own_pages(byte_count)
        _fill(memory, layout.packed, layout.packed_begin)
        yield Part(memory, layout.packed_begin)


def _fill(memory: torch.Tensor, parts: Sequence[Part], memory_begin: int) -> None:
    for part in parts:
        begin = part.begin - memory_begin
        memory[begin : begin + part.host.nbytes].copy_(part.host)
