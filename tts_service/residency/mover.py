"""Makes moves, measures them, and says in two words what can go wrong: no memory, or broken.

Moves are made one at a time (see `manager`): two at once would measure each other's bytes.
"""

import errno
import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from tts_service.models.catalog import ModuleSpec

_log = structlog.get_logger(__name__)

_OUT_OF_MEMORY_WORDS = ("can't allocate memory", "failed to allocate memory", "bad allocation", "bad_alloc")
"""What torch's and onnxruntime's own exceptions say when there is no memory; neither raises MemoryError."""


class Memory(Protocol):
    """What a mover needs of the process's memory."""

    def resident_bytes(self) -> int:
        """Return the resident set; 0 where it is unknown."""
        ...

    def give_back(self) -> None:
        """Return freed memory to the operating system."""
        ...


class RestoreFailedError(Exception):
    """A module could not be brought back; its cause says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A module that came home, what it holds there, and how long that took."""

    module: object
    home_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evicted:
    """What an eviction was seen to give back, and how long it took."""

    released_bytes: int
    seconds: float


class Mover:
    """Brings modules from disk into memory and lets them go again."""

    def __init__(self, *, memory: Memory, clock: Callable[[], float], collect: Callable[[], int] = gc.collect) -> None:
        self._memory = memory
        self._clock = clock
        self._collect = collect
        self._moves = 0

    def __repr__(self) -> str:
        return f"<Mover {self._moves} moves | {self._memory!r}>"

    def process_bytes(self) -> int:
        """Return the process's resident set."""
        return self._memory.resident_bytes()

    def measure(self, spec: ModuleSpec) -> Restored:
        """Bring a module home for the first time, and measure what it holds unless its catalog says so.

        Raises MemoryError or RestoreFailedError.
        """
        self._carry(spec, spec.install)
        self._collect()
        self._memory.give_back()
        before_bytes = self._memory.resident_bytes()
        restored = self.restore(spec, home_bytes=spec.home_bytes or 0)
        if spec.home_bytes is not None:
            return restored
        self._collect()
        self._memory.give_back()
        grown_bytes = max(0, self._memory.resident_bytes() - before_bytes)
        return Restored(module=restored.module, home_bytes=grown_bytes, seconds=restored.seconds)

    def restore(self, spec: ModuleSpec, *, home_bytes: int) -> Restored:
        """Bring a module home, and give back what loading took for itself.

        Raises MemoryError or RestoreFailedError.
        """
        began_seconds = self._clock()
        module = self._carry(spec, spec.load)
        self._memory.give_back()
        self._moves += 1
        return Restored(module=module, home_bytes=home_bytes, seconds=self._clock() - began_seconds)

    def evict(self, spec: ModuleSpec, take: Callable[[], object], *, home_bytes: int) -> Evicted:
        """Let a module go. `take` hands over the only reference to it, which is dropped at once.

        A full collection stops every thread (0.1 s with torch imported), so that it is made only if dropping the
        reference has not returned the greater part of the bytes.
        """
        began_seconds, before_bytes = self._clock(), self._memory.resident_bytes()
        ghost = _drop(take())
        _forget(spec)
        self._memory.give_back()
        if ghost() is not None or 2 * (before_bytes - self._memory.resident_bytes()) < home_bytes:
            self._collect()
            self._memory.give_back()
        if ghost() is not None:
            _log.error("module_still_referenced", module=spec.name)
        self._moves += 1
        released_bytes = max(0, before_bytes - self._memory.resident_bytes())
        return Evicted(released_bytes=released_bytes, seconds=self._clock() - began_seconds)

    def _carry(self, spec: ModuleSpec, step: Callable[[], object]) -> object:
        try:
            return step()
        except Exception as error:
            if _is_out_of_memory(error):
                raise MemoryError(f"there is no memory for {spec.name}") from error
            raise RestoreFailedError(f"{spec.name} cannot be loaded: {error}") from error


def _forget(spec: ModuleSpec) -> None:
    try:
        spec.forget()
    except Exception:  # noqa: BLE001 - the module has gone all the same; what was not forgotten shows in the bytes that come back.
        _log.exception("module_not_forgotten", module=spec.name)


def _drop(module: object) -> Callable[[], object | None]:
    """Return a view of a module that does not keep it alive, and let go of it."""
    try:
        return weakref.ref(module)
    except TypeError:
        return _nothing


def _nothing() -> None:
    return None


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(each in words for each in _OUT_OF_MEMORY_WORDS)
