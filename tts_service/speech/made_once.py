"""What is made of a thing once and asked for again and again: a voice on a device, what T3 reads of a voice."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

Thing = TypeVar("Thing")
Made = TypeVar("Made")

MOST: Final = 16
"""Of voices with a prompt of ten seconds: a quarter of a MiB each on the device, and 70 KiB as T3 reads them (750 of
Turbo)."""


class MadeOnce(Generic[Thing, Made]):
    """What was made of the things that were asked for last; the ones not asked for the longest go first.

    A thing is known by its object, which is held as long, and by `variant`. Thread-safe. What is made on a GPU belongs
    to the stream of whoever asks first, so that all who ask compute on one.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._made: OrderedDict[tuple[int, Hashable], tuple[Thing, Made]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, thing: Thing, make: Callable[[], Made], *, variant: Hashable = None) -> Made:
        """Return what was made of a thing, by `make` if it is not there."""
        key = (id(thing), variant)
        with self._lock:
            if key not in self._made:
                self._made[key] = (thing, make())
                while len(self._made) > self._most:
                    self._made.popitem(last=False)
            self._made.move_to_end(key)
            return self._made[key][1]

    def __repr__(self) -> str:
        return f"<MadeOnce {len(self._made)} of {self._most}>"
