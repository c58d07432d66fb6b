"""Device addresses that are reserved for life, with memory behind them or not."""

import structlog

from tts_service.residency.device_driver import DeviceDriver, DeviceDriverError
from tts_service.residency.mapping import map_memory, whole_granules
from tts_service.residency.stray_cover import StrayCover

_log = structlog.get_logger(__name__)


class AddressRange:
    """One reservation. Its memory comes as a whole and goes as a whole; its addresses never change.

    `cover` lies over the addresses while nothing else is behind them, None for nothing. Calls are for the thread whose
    turn it is (`CaptureGate.moving`), with the driver's context current.
    """

    def __init__(self, driver: DeviceDriver, byte_count: int, *, cover: StrayCover | None = None) -> None:
        assert byte_count > 0
        self.byte_count = whole_granules(driver, byte_count)
        self.address = driver.reserve(self.byte_count)
        self.is_mapped = False
        self._driver = driver
        self._cover = cover
        self._is_covered = False
        if cover is not None:
            self._lay_cover(cover)

    def __repr__(self) -> str:
        return f"<AddressRange {self.address:#x} | {self.byte_count} bytes {'mapped' if self.is_mapped else 'empty'}>"

    def map(self) -> None:
        """Put memory behind the addresses; what is in it is undefined. If it raises, nothing is there."""
        assert not self.is_mapped
        self._lift_cover()
        try:
            map_memory(self._driver, self.address, self.byte_count)
        except DeviceDriverError:
            if self._cover is not None:
                self._lay_cover(self._cover)
            raise
        self.is_mapped = True

    def unmap(self) -> None:
        """Take the memory away. What uses it must have ended. If it raises, nobody knows what is there."""
        assert self.is_mapped
        self._driver.unmap(self.address, self.byte_count)
        self.is_mapped = False
        if self._cover is not None:
            self._lay_cover(self._cover)

    def close(self) -> None:
        """Give the addresses back; tensors over them must not be used any more."""
        if self.is_mapped:
            self._driver.unmap(self.address, self.byte_count)
            self.is_mapped = False
        self._lift_cover()
        self._driver.free_addresses(self.address, self.byte_count)

    def _lay_cover(self, cover: StrayCover) -> None:
        """Cover the addresses if that can be done: looking for mistakes must not make any."""
        try:
            cover.lay(self.address, self.byte_count)
        except DeviceDriverError:
            _log.exception("evicted_range_not_covered", bytes=self.byte_count)
        else:
            self._is_covered = True

    def _lift_cover(self) -> None:
        if self._is_covered and self._cover is not None:
            self._cover.lift(self.address, self.byte_count)
            self._is_covered = False
