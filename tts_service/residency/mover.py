"""Makes moves, measures them, and says in two words what can go wrong: no memory, or broken.

Moves are made one at a time (see `manager`): two at once would measure each other's bytes.
"""

import errno
import gc
import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog
import torch

from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.device_driver import DeviceDriverError
from tts_service.residency.types import DeviceUsage
from tts_service.spans import NO_SPANS, SpanLog
from tts_service.types import ModuleName

Result = TypeVar("Result")

MOVES = "moves"
"""The row of a trace that moves are on."""

_log = structlog.get_logger(__name__)

_OUT_OF_MEMORY_WORDS = (
    "can't allocate memory",
    "failed to allocate memory",
    "bad allocation",
    "bad_alloc",
    "cuda error: out of memory",
)
"""What torch's and onnxruntime's own exceptions say when there is no memory; neither raises MemoryError."""


class Memory(Protocol):
    """What a mover needs of the process's memory."""

    def resident_bytes(self) -> int:
        """Return the resident set; 0 where it is unknown."""
        ...

    def give_back(self) -> None:
        """Return freed memory to the operating system."""
        ...


class DeviceWeights(Protocol):
    """What a mover needs of a device: weights that come from a module's host memory and go again.

    The module is the same object all the time. Each is called by one thread at a time, but for `begin_work` and
    `end_work`.
    """

    def weigh(self, module: object) -> int:
        """Return the bytes that a module in host memory will take, or TypeError if it is nothing that can go there."""
        ...

    def restore(self, name: ModuleName, module: object) -> int:
        """Put a module's weights on the device and return their bytes; done when it returns.

        If it raises, the module is in host memory as before and the device holds nothing of it.
        """
        ...

    def evict(self, name: ModuleName) -> int:
        """Let a module use its host memory again, copying nothing, and return the bytes that were given back."""
        ...

    def forget(self, name: ModuleName) -> None:
        """Let go of a module's host memory, which is about to be dropped."""
        ...

    def begin_work(self, names: Collection[ModuleName]) -> None:
        """Let what this thread will ask of the device come after what brings these modules there.

        Raises DeviceDriverError, and then nothing has begun.
        """
        ...

    def end_work(self, names: Collection[ModuleName]) -> None:
        """Let modules stay until the device has done what this thread has asked of it; may wait for that.

        Raises what went wrong on the device. The use has ended all the same.
        """
        ...

    def failure(self, name: ModuleName) -> Exception | None:
        """Return what keeps a module from the device for good, None if nothing does."""
        ...

    def fail(self, name: ModuleName, error: DeviceDriverError) -> None:
        """Keep a module from the device for good: what was done with it there has failed."""
        ...

    def usage(self, *, closely: bool = False) -> DeviceUsage:
        """Return what the process holds of the device; `closely` with what takes milliseconds to find out."""
        ...

    def give_back(self) -> None:
        """Return to the device what its allocator keeps for use."""
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
    """Brings modules from disk into memory, from there to the device if there is one, and lets them go again."""

    def __init__(
        self,
        *,
        memory: Memory,
        clock: Callable[[], float],
        collect: Callable[[], int] = gc.collect,
        device: DeviceWeights | None = None,
        spans: SpanLog = NO_SPANS,
    ) -> None:
        self.device = device
        self._spans = spans
        self._memory = memory
        self._clock = clock
        self._collect = collect
        self._moves = 0

    def __repr__(self) -> str:
        return f"<Mover {self._moves} moves | {self._memory!r}>"

    def process_bytes(self) -> int:
        """Return the process's resident set."""
        return self._memory.resident_bytes()

    def device_usage(self, *, closely: bool = False) -> DeviceUsage | None:
        """Return what the process holds of the device, None without one."""
        return None if self.device is None else self.device.usage(closely=closely)

    def give_back(self) -> None:
        """Return what allocators keep for use, the device's and the host's."""
        if self.device is not None:
            self.device.give_back()
        self._memory.give_back()

    def begin_work(self, names: Collection[ModuleName]) -> None:
        """Let this thread's work on the device, if there is one, come after what brings these modules there."""
        if self.device is not None:
            self.device.begin_work(names)

    def end_work(self, names: Collection[ModuleName]) -> None:
        """Let modules stay until the device, if there is one, has done what this thread has asked of it."""
        if self.device is not None:
            self.device.end_work(names)

    def failure(self, name: ModuleName) -> Exception | None:
        """Return what keeps a module from the device for good, None if nothing does."""
        return None if self.device is None else self.device.failure(name)

    def fail(self, name: ModuleName, error: DeviceDriverError) -> None:
        """Keep a module from the device for good: what was done with it there has failed."""
        self._present().fail(name, error)

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
        with self._spans.span(f"{spec.name} to host", on=MOVES):
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
        if self.device is not None:
            self.device.forget(spec.name)
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

    def to_device(self, spec: ModuleSpec, module: object) -> Restored:
        """Bring a module from host memory to the device. Raises MemoryError or RestoreFailedError."""
        device = self._present()
        began_seconds = self._clock()
        with self._spans.span(f"{spec.name} to device", on=MOVES):
            home_bytes = self._carry(spec, lambda: device.restore(spec.name, module))
        self._moves += 1
        return Restored(module=module, home_bytes=home_bytes, seconds=self._clock() - began_seconds)

    def off_device(self, spec: ModuleSpec) -> Evicted:
        """Let a module go back to its host memory."""
        began_seconds = self._clock()
        with self._spans.span(f"{spec.name} off device", on=MOVES):
            released_bytes = self._present().evict(spec.name)
        self._moves += 1
        return Evicted(released_bytes=released_bytes, seconds=self._clock() - began_seconds)

    def weigh(self, spec: ModuleSpec, module: object) -> int:
        """Return what a module will hold on the device. Raises RestoreFailedError if it cannot go there."""
        device = self._present()
        return self._carry(spec, lambda: device.weigh(module))

    def _present(self) -> DeviceWeights:
        assert self.device is not None, "there is no device"
        return self.device

    def _carry(self, spec: ModuleSpec, step: Callable[[], Result]) -> Result:
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
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        each in words for each in _OUT_OF_MEMORY_WORDS
    )
