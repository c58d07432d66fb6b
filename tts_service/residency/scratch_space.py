"""What a stage needs of a device beside its weights, as one thing that comes and goes: buffers, graphs' memory, pages.

To the manager it is a module like any other, but that it holds nothing in host memory: it is leased with the stage's
weights, counts in the budget, rests away, and is back in a millisecond. Its contents are undefined when it comes back.
It grows while it is there, and tells the manager's books. While somebody has something in it that must not be lost
(pages of an utterance that is being spoken), it is kept: it does not leave, whatever the need.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog

from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.device_driver import DeviceDriver, DeviceDriverError, DeviceMemoryError
from tts_service.residency.growth import RoomWantedError
from tts_service.residency.locked_pages import LockedPages
from tts_service.residency.use_record import UseRecord
from tts_service.types import ModuleName

_log = structlog.get_logger(__name__)


class Part(Protocol):
    """Memory of a space that comes and goes with it. Calls are for the thread whose turn it is."""

    @property
    def byte_count(self) -> int:
        """What it takes when it is brought."""
        ...

    @property
    def mapped_bytes(self) -> int:
        """What it takes now."""
        ...

    def bring(self) -> None:
        """Put memory behind its addresses; if it raises, nothing is there."""
        ...

    def trim(self) -> int:
        """Take memory away that nobody uses, and return its bytes."""
        ...

    def give_back(self) -> None:
        """Take all memory away."""
        ...

    def close(self) -> None:
        """Give the addresses back too."""
        ...


class Account(Protocol):
    """Where the manager books what a space takes, from any thread."""

    def grow(self, byte_count: int) -> bool:
        """Book so many bytes more if the budget holds them beside what is there; tells whether it does."""
        ...

    def note(self, byte_count: int) -> None:
        """Book a change that has happened."""
        ...

    def keep(self, count: int) -> None:
        """Keep the space from leaving on behalf of so many more, or fewer if negative."""
        ...


class NoAccount:
    """Books of a space that no manager knows: it may always grow."""

    def grow(self, byte_count: int) -> bool:
        """Allow it."""
        del byte_count
        return True

    def note(self, byte_count: int) -> None:
        """Book nothing."""

    def keep(self, count: int) -> None:
        """Keep nobody from anything."""

    def __repr__(self) -> str:
        return "<NoAccount>"


class ScratchSpace:
    """The parts of one stage. `account` is set by whoever makes the manager; `forget_cache` frees torch's cache."""

    def __init__(
        self, name: ModuleName, *, driver: DeviceDriver, gate: CaptureGate, forget_cache: Callable[[], None]
    ) -> None:
        self.name = name
        self.driver = driver
        self.gate = gate
        self.uses = UseRecord(name)
        self.account: Account = NoAccount()
        self.linger_seconds: float | None = None
        """How long it stays after its last use, if not as long as others."""
        self.waiting: LockedPages | None = None
        """Where what is in it may wait on the host."""
        self.is_mapped = False
        self.failure: DeviceDriverError | None = None
        self.forget_cache = forget_cache
        self._parts: list[Part] = []
        self._pools: list[Part] = []

    def __repr__(self) -> str:
        there = "broken" if self.failure else ("there" if self.is_mapped else "away")
        return f"<ScratchSpace {self.name} {there} | {len(self._parts)} parts | {self.mapped_bytes} bytes>"

    @property
    def byte_count(self) -> int:
        """What it takes when it is brought."""
        return sum(each.byte_count for each in self._parts)

    @property
    def mapped_bytes(self) -> int:
        """What it takes of the device now."""
        return sum(each.mapped_bytes for each in self._parts)

    @property
    def pool_bytes(self) -> int:
        """What torch believes to hold here, whether it is there or not."""
        return sum(each.byte_count for each in self._pools)

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Call the driver inside; see `CaptureGate`."""
        with self.gate.moving():
            self.driver.make_current()
            yield

    def add(self, part: Part) -> None:
        """Have a part come and go with the rest, from now on.

        Raises as its `bring` does, and RoomWantedError if the space is there and the budget does not hold it.
        """
        size_bytes = part.byte_count
        if not self.is_mapped:
            self.account.note(size_bytes)
        elif size_bytes and not self.account.grow(size_bytes):
            message = f"{self.name} needs {size_bytes:,} bytes more on the device, which the budget does not hold"
            raise RoomWantedError(self.name, size_bytes, message)
        try:
            with self.moving():
                if self.is_mapped:
                    self.with_memory(part.bring)
                self._parts.append(part)
        except DeviceDriverError:
            self.account.note(-size_bytes)
            raise

    def add_pool(self, part: Part) -> None:
        """Add a part that torch's books count too: they never see it leave."""
        self.add(part)
        self._pools.append(part)

    def with_memory(self, step: Callable[[], None]) -> None:
        """Make a step that takes memory; if there is none, torch's cache is given back, and it is made once more."""
        try:
            step()
        except DeviceMemoryError:
            self.forget_cache()
            step()

    def restore(self) -> None:
        """Bring all parts, within `moving`. Raises DeviceMemoryError or DeviceDriverError, and then none is there."""
        if self.failure is not None:
            raise self.failure
        assert not self.is_mapped
        brought: list[Part] = []
        try:
            for part in self._parts:
                self.with_memory(part.bring)
                brought.append(part)
        except DeviceDriverError:
            self._take_back(brought)
            raise
        self.is_mapped = True

    def evict(self) -> int:
        """Give all memory back, within `moving`, and return its bytes. Raises ArenaInUseError while anybody uses it.

        A driver that fails breaks the space, which is not raised: the next restore says it.
        """
        self.uses.check_unused()
        released_bytes, grown_bytes = self.mapped_bytes, self.mapped_bytes
        try:
            self.uses.wait()
            for part in self._parts:
                part.give_back()
        except DeviceDriverError as error:
            self._break(error)
            return 0
        self.is_mapped = False
        grown_bytes -= self.byte_count
        if grown_bytes:
            # It comes back at the size that it begins with.
            self.account.note(-grown_bytes)
        return released_bytes

    def fail(self, error: DeviceDriverError) -> None:
        """Break it; what broke it first counts."""
        self.failure = self.failure or error

    def trim(self) -> int:
        """Give back what nobody uses of what it has grown by, and return its bytes. A driver that fails breaks it.

        What nobody uses on the host goes too, and does not count.
        """
        if self.waiting is not None:
            self.waiting.trim()
        if not self.is_mapped or self.failure is not None:
            return 0
        try:
            with self.moving():
                released_bytes = sum(part.trim() for part in self._parts)
        except DeviceDriverError as error:
            self._break(error)
            return 0
        if released_bytes:
            self.account.note(-released_bytes)
        return released_bytes

    def close(self) -> None:
        """Give everything back, addresses included."""
        self.uses.wait()
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.close()
        for part in self._parts:
            part.close()
        self._parts.clear()

    def _take_back(self, brought: list[Part]) -> None:
        try:
            for part in brought:
                part.give_back()
        except DeviceDriverError as error:
            self._break(error)

    def _break(self, error: DeviceDriverError) -> None:
        self.failure = error
        _log.exception("arena_broken", module=self.name, call=error.call)


class ScratchModule:
    """A space as the manager holds it: lending it is lending the space, dropping it drops nothing."""

    def __init__(self, space: ScratchSpace) -> None:
        self.space = space

    def __repr__(self) -> str:
        return f"<ScratchModule of {self.space!r}>"


def scratch_spec(space: ScratchSpace) -> ModuleSpec:
    """Return a space as a module for the manager's catalog.

    It goes behind the stage's weights there: of modules that were used last at the same moment, the later leaves
    first, and this is the one that is back soonest.
    """
    return ModuleSpec(
        name=space.name,
        load=lambda: ScratchModule(space),
        rests_at_home=False,
        home_bytes=0,
        is_scratch=True,
        linger_seconds=space.linger_seconds,
    )
