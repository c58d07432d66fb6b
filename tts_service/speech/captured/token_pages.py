"""Where T3's keys and values are kept: pages of 64 positions, taken as speech grows and given back when it ends.

Rules
* A page holds 64 positions of one row: all layers, keys and values, all heads. Its place in `tensor` is its number.
* Pages that nobody has taken may have no memory. Who reads or writes one ends the process's use of the device.
* A page's contents are undefined when it is taken. What a taken page holds stays until it is given back.
* Pages lie `tensor.stride(0)` numbers apart, which may be more than a page has; within a page all is contiguous.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, Protocol

import torch

from tts_service.errors import Reason, ServiceError

PAGE_POSITIONS: Final = 64
"""2.56 s of speech. English in bf16: 7.5 MiB, Turbo: 6 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageShape:
    """What one page holds of a network: keys and values of 64 positions in so many layers and heads."""

    layers: int
    heads: int
    head_channels: int

    @classmethod
    def of(cls, t3: Any) -> "PageShape":
        """Return the shape for one of upstream's T3."""
        config = t3.cfg
        heads = config.num_attention_heads
        return cls(layers=config.num_hidden_layers, heads=heads, head_channels=config.hidden_size // heads)

    @property
    def dimensions(self) -> tuple[int, int, int, int, int]:
        """A page's dimensions: layers, keys and values, heads, positions, channels of a head."""
        return self.layers, 2, self.heads, PAGE_POSITIONS, self.head_channels

    def contents_bytes(self, dtype: torch.dtype) -> int:
        """Return how much a page holds in this dtype."""
        return 2 * self.layers * self.heads * PAGE_POSITIONS * self.head_channels * dtype.itemsize


class KeyValuePages(Protocol):
    """Pages of keys and values on one device. Any thread may take and give; neither waits for the device."""

    @property
    def tensor(self) -> torch.Tensor:
        """All pages (pages, layers, 2, heads, 64, head channels), at one address for life."""
        ...

    def take(self, count: int) -> list[int]:
        """Return the numbers of so many pages, now one's own; all or none.

        DEVICE_MEMORY if there are not as many, or no memory for them.
        """
        ...

    def give(self, pages: Iterable[int]) -> None:
        """Give pages back; the device is done with them. Each must have been taken."""
        ...


class TensorPages:
    """Pages in one tensor that is there for life: for CPUs, tests and measurements."""

    def __init__(self, shape: PageShape, *, pages: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        # NaN, so that who reads what was never written finds out.
        self._tensor = torch.full((pages, *shape.dimensions), torch.nan, dtype=dtype, device=device)
        self._lock = Lock()
        self._free = set(range(pages))

    @property
    def tensor(self) -> torch.Tensor:
        """All pages."""
        return self._tensor

    @property
    def free_pages(self) -> int:
        """How many pages nobody has."""
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """Return the lowest free pages."""
        with self._lock:
            if count > len(self._free):
                raise no_pages(count, len(self._free))
            taken = sorted(self._free)[:count]
            self._free.difference_update(taken)
        return taken

    def give(self, pages: Iterable[int]) -> None:
        """Make pages free again."""
        with self._lock:
            given = set(pages)
            assert not given & self._free, "a page was given back twice"
            self._free |= given

    def __repr__(self) -> str:
        return f"<TensorPages {len(self._tensor) - len(self._free)} of {len(self._tensor)} taken>"


def no_pages(wanted: int, free: int) -> ServiceError:
    """Return the error for pages that are not to be had now."""
    return ServiceError(
        Reason.DEVICE_MEMORY,
        f"speech needs {wanted} more pages of keys and values, and {free} are free",
        retry_after_seconds=1.0,
    )
