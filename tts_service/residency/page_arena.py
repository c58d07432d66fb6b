"""Pages at fixed addresses, each with memory behind it once it is needed, for what grows as speech does.

A page that was given back keeps its memory and is taken first; the space gives such memory back when it is trimmed, and
all of it when it leaves. The contents of a page are undefined when it is taken, and stay while it is.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from threading import Lock

import torch

from tts_service.errors import Reason, ServiceError
from tts_service.residency.device_driver import DeviceEvent, DeviceMemoryError
from tts_service.residency.growth import RETRY_SECONDS, RoomWantedError
from tts_service.residency.mapping import map_memory, whole_granules
from tts_service.residency.raw_tensor import storage_over, strided_over
from tts_service.residency.scratch_space import ScratchSpace


class PageArena:
    """So many `pages` of this shape. `ready_pages` of them come with the space, so that one utterance always fits.

    Any thread may take and give, under a lease on the space.
    """

    def __init__(
        self, space: ScratchSpace, shape: Sequence[int], *, dtype: torch.dtype, pages: int, ready_pages: int = 0
    ) -> None:
        assert 0 <= ready_pages <= pages
        self._space = space
        self._driver = space.driver
        self._page_bytes = whole_granules(space.driver, torch.Size(shape).numel() * dtype.itemsize)
        self._pages = pages
        self._ready = frozenset(range(ready_pages))
        self._lock = Lock()
        self._free = set(range(pages))
        self._mapped: set[int] = set()
        self._left: dict[int, DeviceEvent] = {}
        with space.moving():
            self._address = space.driver.reserve(pages * self._page_bytes)
        self._tensor = self._view(tuple(shape), dtype)
        space.add(self)

    def __repr__(self) -> str:
        taken, mapped = self._pages - len(self._free), len(self._mapped)
        return f"<PageArena {taken} of {self._pages} pages taken | {mapped} mapped | {self._page_bytes} bytes each>"

    @property
    def tensor(self) -> torch.Tensor:
        """All pages (pages, *shape), at one address for life; only those that are taken may be used."""
        return self._tensor

    @property
    def page_bytes(self) -> int:
        """What a page takes of the device."""
        return self._page_bytes

    @property
    def free_pages(self) -> int:
        """How many pages nobody has."""
        return len(self._free)

    @property
    def byte_count(self) -> int:
        """What it takes when it is brought."""
        return len(self._ready) * self._page_bytes

    @property
    def mapped_bytes(self) -> int:
        """What it takes now."""
        return len(self._mapped) * self._page_bytes

    def take(self, count: int) -> list[int]:
        """Return the numbers of so many pages, now one's own: all or none.

        Raises ServiceError DEVICE_MEMORY if there are not as many, RoomWantedError if there is no memory for them.
        """
        with self._lock:
            if count > len(self._free):
                message = f"{count} pages more are needed, and {len(self._free)} are free"
                raise ServiceError(Reason.DEVICE_MEMORY, message, retry_after_seconds=RETRY_SECONDS)
            taken = sorted(self._free, key=lambda page: (page not in self._mapped, page))[:count]
            self._free.difference_update(taken)
        self._space.account.keep(count)
        try:
            self._back([page for page in taken if page not in self._mapped], count)
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
            spare = (self._free & self._mapped) - self._ready
            for page in spare:
                self._unmap(page)
        return len(spare) * self._page_bytes

    def bring(self) -> None:
        """Put memory behind the pages that come with the space, by one mapping: the first token waits for it."""
        with self._lock:
            if self._ready:
                map_memory(self._driver, self._address, self.byte_count)
                self._mapped |= self._ready

    def give_back(self) -> None:
        """Take all memory away."""
        with self._lock:
            for page in self._mapped - self._ready:
                self._unmap(page)
            if self._ready & self._mapped:
                for page in self._ready:
                    self._settle(page)
                self._driver.unmap(self._address, self.byte_count)
                self._mapped -= self._ready

    def close(self) -> None:
        """Give the addresses back."""
        self.give_back()
        self._driver.free_addresses(self._address, self._pages * self._page_bytes)

    def _back(self, pages: list[int], wanted: int) -> None:
        """Put memory behind pages that are one's own."""
        if not pages:
            return
        lacking_bytes = len(pages) * self._page_bytes
        if not self._space.account.grow(lacking_bytes):
            obstacle = f"the budget does not hold {lacking_bytes} bytes more"
            raise self._no_room(lacking_bytes, f"{wanted} pages more are needed, and {obstacle}")
        mapped: list[int] = []
        try:
            with self._space.moving():
                assert self._space.is_mapped, "pages are taken under a lease on their space"
                for page in pages:
                    self._space.with_memory(partial(self._map, page))
                    mapped.append(page)
        except DeviceMemoryError as error:
            lacking_bytes -= len(mapped) * self._page_bytes
            message = f"{wanted} pages more are needed, and the device has no memory for them"
            raise self._no_room(lacking_bytes, message, is_short=True) from error
        finally:
            if len(mapped) < len(pages):
                self._space.account.note((len(mapped) - len(pages)) * self._page_bytes)

    def _no_room(self, byte_count: int, message: str, *, is_short: bool = False) -> RoomWantedError:
        return RoomWantedError(self._space.name, byte_count, message, is_short=is_short)

    def _release(self, pages: Sequence[int]) -> None:
        with self._lock:
            assert self._free.isdisjoint(pages), "a page was given back twice"
            self._free.update(pages)
        self._space.account.keep(-len(pages))

    def _follow(self, pages: Sequence[int]) -> None:
        """Let this thread's stream come after what the pages' last owners asked for."""
        with self._lock:
            events = {id(event): event for event in (self._left.pop(page, None) for page in pages) if event is not None}
        for event in events.values():
            event.hold_stream()

    def _map(self, page: int) -> None:
        map_memory(self._driver, self._address + page * self._page_bytes, self._page_bytes)
        self._mapped.add(page)

    def _unmap(self, page: int) -> None:
        self._settle(page)
        self._driver.unmap(self._address + page * self._page_bytes, self._page_bytes)
        self._mapped.discard(page)

    def _settle(self, page: int) -> None:
        """Wait for what a page's last owner asked for."""
        left = self._left.pop(page, None)
        if left is not None:
            left.wait()

    def _view(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        device = self._driver.device
        storage = storage_over(device, self._address, self._pages * self._page_bytes)
        within = torch.empty(shape, device="meta").stride()
        stride = (self._page_bytes // dtype.itemsize, *within)
        return strided_over(storage, device, dtype=dtype, shape=(self._pages, *shape), stride=stride)
