"""Where keys and values wait while nobody asks for their segment's tokens: pages of host memory, within a bound.

Rules
* Copies either way are asked for inside `beside`, and so follow each other. What this thread's stream was told before
  comes before them; what it is told after `join` comes after.
* A page of the host may be given back while it is still read or written: the next copy comes after.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch


class WaitingRoom(Protocol):
    """Pages of host memory. Any thread may give; the rest is for the thread that computes tokens."""

    def holds(self, count: int) -> bool:
        """Tell whether so many pages more are within the bound."""
        ...

    def ready(self, count: int) -> bool:
        """Make a little more of so many pages ready; tells whether all of them are, and may be taken."""
        ...

    def take(self, count: int) -> Sequence[torch.Tensor]:
        """Return so many pages that are ready, each shaped like one of the device: one slot's."""
        ...

    def give(self, pages: Sequence[torch.Tensor]) -> None:
        """Give a slot's pages back."""
        ...

    def trim(self) -> int:
        """Give the system what nobody uses, and return its bytes. Waits for what the device does."""
        ...

    def beside(self) -> AbstractContextManager[None]:
        """Ask for copies inside, in the rooms' own order beside what is computed."""
        ...

    def join(self) -> None:
        """Let what this thread's stream is told from now on come after all copies so far."""
        ...
