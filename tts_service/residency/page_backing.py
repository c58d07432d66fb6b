"""Memory behind pages that lie side by side, in the granules that a device maps: two neighbours may share one.

A granule is mapped when the first of its pages needs it, together with the others that this page lacks, as one run. A
run goes as it came, once nobody has any of the pages that it touches.
"""

from collections.abc import Iterable

from tts_service.residency.device_driver import DeviceDriver
from tts_service.residency.mapping import map_memory, whole_granules
from tts_service.residency.page_bits import numbers


class PageBacking:
    """So many `pages` of so many bytes from an address on. Its callers see to it that one call is made at a time.

    Sets of pages are bits, as in `page_bits`.
    """

    def __init__(self, driver: DeviceDriver, address: int, *, pages: int, page_bytes: int) -> None:
        self._driver = driver
        self._address = address
        self._pages = pages
        self._page_bytes = page_bytes
        self._granule_bytes = driver.granularity_bytes
        self._granules = 0
        self._runs: dict[int, int] = {}
        self.backed = 0
        """The pages that have memory from end to end."""

    def __repr__(self) -> str:
        return f"<PageBacking of {self.backed.bit_count()} of {self._pages} pages | {self.byte_count} bytes>"

    @property
    def byte_count(self) -> int:
        """What is mapped."""
        return self._granules.bit_count() * self._granule_bytes

    def lacking_bytes(self, pages: Iterable[int]) -> int:
        """Return what would have to be mapped for these pages."""
        wanted = 0
        for page in pages:
            wanted |= self._granules_of(page)
        return (wanted & ~self._granules).bit_count() * self._granule_bytes

    def map_first(self, count: int) -> None:
        """Put memory behind the first pages, none of which has any, by one mapping. Raises as `map_memory` does."""
        self._map(0, whole_granules(self._driver, count * self._page_bytes) // self._granule_bytes)

    def map(self, page: int) -> None:
        """Put memory behind all of a page. Raises as `map_memory` does; what could be mapped before stays."""
        missing = self._granules_of(page) & ~self._granules
        while missing:
            start = (missing & -missing).bit_length() - 1
            rest = missing >> start
            count = (~rest & rest + 1).bit_length() - 1
            self._map(start, count)
            missing ^= _span(start, count)

    def unused_runs(self, used: int) -> list[tuple[int, int]]:
        """Return the runs that none of these pages touches, as their first granules and the pages that they touch."""
        touched = [(start, self._pages_of(start, count)) for start, count in self._runs.items()]
        return [(start, pages) for start, pages in touched if not pages & used]

    def unmap(self, start: int) -> None:
        """Take the memory of the run away that begins with this granule."""
        count = self._runs[start]
        self._driver.unmap(self._address + start * self._granule_bytes, count * self._granule_bytes)
        del self._runs[start]
        self._granules &= ~_span(start, count)
        self.backed &= ~self._pages_of(start, count)

    def _map(self, start: int, count: int) -> None:
        map_memory(self._driver, self._address + start * self._granule_bytes, count * self._granule_bytes)
        self._runs[start] = count
        self._granules |= _span(start, count)
        for page in numbers(self._pages_of(start, count)):
            if not self._granules_of(page) & ~self._granules:
                self.backed |= 1 << page

    def _granules_of(self, page: int) -> int:
        start = page * self._page_bytes // self._granule_bytes
        return _span(start, -(-(page + 1) * self._page_bytes // self._granule_bytes) - start)

    def _pages_of(self, start: int, count: int) -> int:
        """Return the pages that lie in some of these granules."""
        first = start * self._granule_bytes // self._page_bytes
        end = min(self._pages, -(-(start + count) * self._granule_bytes // self._page_bytes))
        return _span(first, end - first)


def _span(start: int, count: int) -> int:
    return (1 << count) - 1 << start
