"""One page of memory that lies over every range that is away, to find who uses what is not there.

Without it, such an access is an illegal address, which costs the whole context and names nobody. With it, whoever reads
gets NaN in every float format (all bits are set), and whoever writes is found when the range is used again. It is for
looking for mistakes: each granule is mapped by a call of its own, which takes some milliseconds for a GiB.
"""

from typing import Final

import structlog

from tts_service.residency.device_driver import DeviceDriver, DeviceDriverError
from tts_service.residency.raw_tensor import bytes_over

POISON: Final = 0xFF
"""All bits set: NaN in float8, float16, bfloat16, float32 and float64."""

_log = structlog.get_logger(__name__)


class StrayCover:
    """The page, which has an address of its own besides. `strays` counts the times that it was found written to."""

    def __init__(self, driver: DeviceDriver) -> None:
        self.strays = 0
        self._driver = driver
        self._granule = driver.granularity_bytes
        own = driver.reserve(self._granule)
        self._handle = driver.create(self._granule)
        driver.map(own, self._granule, self._handle)
        driver.set_access(own, self._granule)
        self._page = bytes_over(driver.device, own, self._granule)
        self._poison()

    def __repr__(self) -> str:
        return f"<StrayCover of {self._granule} bytes | {self.strays} strays>"

    def lay(self, address: int, byte_count: int) -> None:
        """Cover a range with nothing behind it. If it raises, nothing of it is covered."""
        laid: list[int] = []
        try:
            for granule in self._granules(address, byte_count):
                self._driver.map(granule, self._granule, self._handle)
                laid.append(granule)
            self._driver.set_access(address, byte_count)
        except DeviceDriverError:
            for granule in laid:
                self._driver.unmap(granule, self._granule)
            raise

    def lift(self, address: int, byte_count: int) -> None:
        """Uncover a range, and say in the log if anybody has written to what is away."""
        for granule in self._granules(address, byte_count):
            self._driver.unmap(granule, self._granule)
        if bool((self._page != POISON).any()):
            self.strays += 1
            _log.error("evicted_memory_written_to", address=hex(address), bytes=byte_count)
            self._poison()

    def _granules(self, address: int, byte_count: int) -> range:
        return range(address, address + byte_count, self._granule)

    def _poison(self) -> None:
        self._page.fill_(POISON)
