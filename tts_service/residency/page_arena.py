"""Pages at fixed addresses, each with memory behind it once it is needed, for what grows as speech does.

A page that was given back keeps its memory and is taken first; the space gives such memory back when it is trimmed, and
all of it when it leaves. The contents of a page are undefined when it is taken, and stay while it is. Neighbours share
the granules between them: a page of English is 7.5 MiB and a granule 2, of which an utterance loses at most one.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain, islice
from threading import Lock
from typing import Final

import torch

from tts_service.errors import Reason, ServiceError
from tts_service.residency.device_driver import DeviceEvent, DeviceMemoryError
from tts_service.residency.growth import RETRY_SECONDS, RoomWantedError
from tts_service.residency.mapping import whole_granules
from tts_service.residency.page_backing import PageBacking
from tts_service.residency.page_bits import bits_of, numbers
from tts_service.residency.raw_tensor import storage_over, strided_over
from tts_service.residency.scratch_space import ScratchSpace

ALIGNMENT_BYTES: Final = 512
"""Of a page's address: what CUDA's own allocator gives."""


class PageArena:
    """So many `pages` of this shape. `ready_pages` of them come with the space, so that one utterance always fits.

    Any thread may take and give, under a lease on the space. Making one raises as `ScratchSpace.add` does.
    """

    def __init__(
        self, space: ScratchSpace, shape: Sequence[int], *, dtype: torch.dtype, pages: int, ready_pages: int = 0
    ) -> None:
        assert 0 <= ready_pages <= pages
        self._space = space
        self._driver = space.driver
        self._page_bytes = -(-torch.Size(shape).numel() * dtype.itemsize // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        self._pages = pages
        self._reserved_bytes = whole_granules(space.driver, pages * self._page_bytes)
        self._ready = bits_of(range(ready_pages))
        self._lock = Lock()
        self._free = bits_of(range(pages))
        self._left: dict[int, DeviceEvent] = {}
        with space.moving():
            self._address = space.driver.reserve(self._reserved_bytes)
        self._backing = PageBacking(space.driver, self._address, pages=pages, page_bytes=self._page_bytes)
        self._tensor = self._view(tuple(shape), dtype)
        try:
            space.add(self)
        except Exception:  # It is raised on: nobody else would give the addresses back.
            self.close()
            raise

    def __repr__(self) -> str:
        taken = self._pages - self.free_pages
        return f"<PageArena {taken} of {self._pages} pages taken | {self._page_bytes} bytes each | {self._backing!r}>"

    @property
    def tensor(self) -> torch.Tensor:
        """All pages (pages, *shape), at one address for life; only those that are taken may be used."""
        return self._tensor

    @property
    def page_bytes(self) -> int:
        """How far apart pages lie."""
        return self._page_bytes

    @property
    def free_pages(self) -> int:
        """How many pages nobody has."""
        return self._free.bit_count()

    @property
    def byte_count(self) -> int:
        """What it takes when it is brought."""
        return whole_granules(self._driver, self._ready.bit_count() * self._page_bytes)

    @property
    def mapped_bytes(self) -> int:
        """What it takes now."""
        return self._backing.byte_count

    def take(self, count: int) -> list[int]:
        """Return the numbers of so many pages, now one's own: all or none.

        Raises ServiceError DEVICE_MEMORY if there are not as many, RoomWantedError if there is no memory for them.
        """
        with self._lock:
            if count > self.free_pages:
                message = f"{count} pages more are needed, and {self.free_pages} are free"
                raise ServiceError(Reason.DEVICE_MEMORY, message, retry_after_seconds=RETRY_SECONDS)
            warm, cold = self._free & self._backing.backed, self._free & ~self._backing.backed
            taken = list(islice(chain(numbers(warm), numbers(cold)), count))
            self._free &= ~bits_of(taken)
        self._space.account.keep(count)
        try:
            self._back([page for page in taken if not self._backing.backed >> page & 1], count)
        except Exception:
            self._release(taken)
            raise
        self._follow(taken)
        return taken

    def give(self, pages: Iterable[int]) -> None:
        """Give pages back, each of which must have been taken."""
        given = list(pages)
        if not given:
            return
        used = self._driver.used()
        with self._lock:
            self._left.update(dict.fromkeys(given, used))
        self._release(given)

    def trim(self) -> int:
        """Take the memory away of pages that nobody has, but for those that come with the space; returns its bytes."""
        with self._lock:
            return self._unmap(~self._free | self._ready)

    def bring(self) -> None:
        """Put memory behind the pages that come with the space, by one mapping: the first token waits for it."""
        with self._lock:
            if self._ready:
                self._backing.map_first(self._ready.bit_count())

    def give_back(self) -> None:
        """Take all memory away."""
        with self._lock:
            self._unmap(0)

    def close(self) -> None:
        """Give the addresses back."""
        self.give_back()
        self._driver.free_addresses(self._address, self._reserved_bytes)

    def _back(self, pages: list[int], wanted: int) -> None:
        """Put memory behind pages that are one's own."""
        if not pages:
            return
        lacking_bytes = self._backing.lacking_bytes(pages)
        if not self._space.account.grow(lacking_bytes):
            obstacle = f"the budget does not hold {lacking_bytes} bytes more"
            raise self._no_room(lacking_bytes, f"{wanted} pages more are needed, and {obstacle}")
        grown_bytes = 0
        try:
            with self._space.moving():
                assert self._space.is_mapped, "pages are taken under a lease on their space"
                before_bytes = self._backing.byte_count
                try:
                    for page in pages:
                        self._space.with_memory(partial(self._map, page))
                finally:
                    grown_bytes = self._backing.byte_count - before_bytes
        except DeviceMemoryError as error:
            message = f"{wanted} pages more are needed, and the device has no memory for them"
            raise self._no_room(lacking_bytes - grown_bytes, message, is_short=True) from error
        finally:
            if grown_bytes != lacking_bytes:  # A neighbour may have brought a granule meanwhile.
                self._space.account.note(grown_bytes - lacking_bytes)

    def _no_room(self, byte_count: int, message: str, *, is_short: bool = False) -> RoomWantedError:
        return RoomWantedError(self._space.name, byte_count, message, is_short=is_short)

    def _release(self, pages: Sequence[int]) -> None:
        with self._lock:
            given = bits_of(pages)
            assert not self._free & given, "a page was given back twice"
            self._free |= given
        self._space.account.keep(-len(pages))

    def _follow(self, pages: Sequence[int]) -> None:
        """Let this thread's stream come after what the pages' last owners asked for."""
        with self._lock:
            events = {id(event): event for event in (self._left.pop(page, None) for page in pages) if event is not None}
        for event in events.values():
            event.hold_stream()

    def _map(self, page: int) -> None:
        with self._lock:
            self._backing.map(page)

    def _unmap(self, used: int) -> int:
        """Take memory away that none of these pages needs, after their last owners' work; return its bytes."""
        before_bytes = self._backing.byte_count
        for start, pages in self._backing.unused_runs(used):
            for page in numbers(pages):
                self._settle(page)
            self._backing.unmap(start)
        return before_bytes - self._backing.byte_count

    def _settle(self, page: int) -> None:
        """Wait for what a page's last owner asked for."""
        left = self._left.pop(page, None)
        if left is not None:
            left.wait()

    def _view(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        device = self._driver.device
        storage = storage_over(device, self._address, self._reserved_bytes)
        within = torch.empty(shape, device="meta").stride()
        stride = (self._page_bytes // dtype.itemsize, *within)
        return strided_over(storage, device, dtype=dtype, shape=(self._pages, *shape), stride=stride)
