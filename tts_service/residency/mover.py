"""Makes moves, measures them, and says in two words what can go wrong: no memory, or broken.

Moves are made one at a time (see `manager`): two at once would measure each other's bytes. Only copies to a device may
begin before their turn, behind those under way, so that the bus has no rest between two modules.
"""

import gc
import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

import structlog

from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.device_driver import DeviceDriverError
from tts_service.residency.moved_memory import DeviceWeights, Memory
from tts_service.residency.out_of_memory import is_out_of_memory
from tts_service.residency.types import DeviceUsage
from tts_service.spans import NO_SPANS, SpanLog
from tts_service.types import ModuleName

Result = TypeVar("Result")

MOVES = "moves"
"""The row of a trace that moves are on."""

_log = structlog.get_logger(__name__)


def _nothing() -> None:
    return None


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

    def forget_workspaces(self) -> None:
        """Let go of what libraries keep to compute in on the device, while nothing is computed there."""
        if self.device is not None:
            self.device.forget_workspaces()

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

    def admit(self, spec: ModuleSpec, module: object) -> None:
        """Do at the start what a module's first restore would do else, in mid-speech perhaps, and say what is wrong."""
        try:
            if self.device is not None:
                self.device.admit(spec.name, module)
        except Exception:  # noqa: BLE001 - nothing is lost but time.
            _log.exception("module_not_admitted", module=spec.name)

    def begin(self, name: ModuleName, module: object) -> None:
        """Begin to bring a module from host memory to the device, which `to_device` then ends. Raises nothing."""
        self._present().begin(name, module)

    def to_device(self, spec: ModuleSpec, module: object, *, meanwhile: Callable[[], object] = _nothing) -> Restored:
        """Bring a module from host memory to the device; `meanwhile` is called while it is copied.

        The time is from when nothing else was on its way. Raises MemoryError or RestoreFailedError.
        """
        device = self._present()
        began_seconds = self._clock()
        with self._spans.span(f"{spec.name} to device", on=MOVES):
            home_bytes = self._carry(spec, lambda: device.restore(spec.name, module, meanwhile=meanwhile))
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
            if is_out_of_memory(error):
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
