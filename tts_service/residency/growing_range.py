"""Addresses that are given out one after the other, with memory behind what was given out, or behind nothing.

A graph's own memory is asked for while the graph is captured, so that nobody knows before how much it will be. So many
addresses are reserved, which cost nothing, and memory is mapped behind them as they are given out. It goes as a whole,
and comes back as a whole to the same addresses.
"""

from tts_service.residency.device_driver import DeviceDriver
from tts_service.residency.mapping import map_memory, whole_granules
from tts_service.residency.module_tensors import ALIGNMENT_BYTES


class GrowingRange:
    """Up to `most_bytes`. Who may call, and when: see `AddressRange`; whoever captures may `take` during that."""

    def __init__(self, driver: DeviceDriver, most_bytes: int) -> None:
        self._driver = driver
        self._most_bytes = whole_granules(driver, most_bytes)
        self.address = driver.reserve(self._most_bytes)
        self.is_there = False
        self.given_bytes = 0
        self._mappings: list[tuple[int, int]] = []

    def __repr__(self) -> str:
        there = "there" if self.is_there else "away"
        return f"<GrowingRange {self.address:#x} {there} | {self.given_bytes} of {self._most_bytes} bytes given>"

    @property
    def byte_count(self) -> int:
        """What it takes of the device while it is there."""
        return whole_granules(self._driver, self.given_bytes)

    @property
    def mapped_bytes(self) -> int:
        """What it takes of the device now."""
        return sum(byte_count for _, byte_count in self._mappings)

    def lacking_bytes(self, byte_count: int) -> int:
        """Return how much more memory it will take once so many bytes more have been given out."""
        return whole_granules(self._driver, self._next() + byte_count) - self.byte_count

    def take(self, byte_count: int) -> int:
        """Return the address of so many bytes, aligned as torch has it, for life.

        Raises ValueError if there are not so many addresses, DeviceMemoryError or DeviceDriverError if there is no
        memory for them; then nothing was given out.
        """
        begin = self._next()
        if begin + byte_count > self._most_bytes:
            raise ValueError(f"{self._most_bytes - begin} bytes of addresses are left, not {byte_count}")
        if self.is_there:
            self._map_until(begin + byte_count)
        self.given_bytes = begin + byte_count
        return self.address + begin

    def bring(self) -> None:
        """Put memory behind all that was given out. If it raises, nothing is there."""
        assert not self.is_there
        self._map_until(self.given_bytes)
        self.is_there = True

    def trim(self) -> int:
        """Give back nothing: what was given out is used for life."""
        return 0

    def give_back(self) -> None:
        """Take all memory away. What uses it must have ended. If it raises, nobody knows what is there."""
        while self._mappings:
            self._driver.unmap(*self._mappings[-1])
            self._mappings.pop()
        self.is_there = False

    def close(self) -> None:
        """Give the addresses back."""
        self.give_back()
        self._driver.free_addresses(self.address, self._most_bytes)

    def _next(self) -> int:
        return -(-self.given_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES

    def _map_until(self, end: int) -> None:
        begin = self.mapped_bytes
        byte_count = whole_granules(self._driver, end) - begin
        if byte_count > 0:
            map_memory(self._driver, self.address + begin, byte_count)
            self._mappings.append((self.address + begin, byte_count))
