"""Modules on a device in arenas: weights that come at the rate of the bus and go in no time, to the same addresses.

It is what `DeviceTensors` is where memory can be mapped. Unlike there, a module's tensors are those of its arena from
its first restore on: while it is away they must not be used, on the host as little as on the device.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

import structlog

from tts_service.residency.arena import Arena
from tts_service.residency.arena_layout import ADOPT_FROM_BYTES, ArenaLayout, arena_layout
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.device_driver import DeviceDriver, DeviceDriverError, DeviceEvent, DeviceMemoryError
from tts_service.residency.mapping import whole_granules
from tts_service.residency.recurrent_layout import Flattening, cudnn_flattening, laid_anyhow
from tts_service.residency.scratch_arena import ScratchArena
from tts_service.residency.scratch_space import ScratchModule, ScratchSpace
from tts_service.residency.stray_cover import StrayCover
from tts_service.residency.torch_device import TorchDevice
from tts_service.residency.types import DeviceUsage
from tts_service.types import ModuleName

_log = structlog.get_logger(__name__)


class ArenaWeights:
    """One arena for each module that was ever on the device. See `DeviceWeights` for what is promised.

    `device` is torch's side of the same device. With `asynchronous`, a restore is done when its copies have begun, and
    `begin_work` lets the work that follows wait for them. With `finds_strays`, a page lies over what is away (see
    `StrayCover`).
    """

    def __init__(
        self,
        driver: DeviceDriver,
        device: TorchDevice,
        *,
        gate: CaptureGate,
        asynchronous: bool = False,
        finds_strays: bool = False,
        flattening: Flattening | None = None,
        adopt_from_bytes: int = ADOPT_FROM_BYTES,
    ) -> None:
        self.gate = gate
        self._driver = driver
        self._device = device
        self._asynchronous = asynchronous
        self._flattening = flattening or _flattening_on(driver)
        self._adopt_from_bytes = adopt_from_bytes
        self._arenas: dict[ModuleName, Arena] = {}
        self._begun: dict[ModuleName, DeviceEvent | None] = {}
        self._weighed: tuple[object, ArenaLayout] | None = None
        self._spaces: dict[ModuleName, ScratchSpace] = {}
        self._scratch: list[ScratchArena] = []
        self._cover: StrayCover | None = None
        if finds_strays:
            with gate.moving():
                driver.make_current()
                self._cover = StrayCover(driver)

    def __repr__(self) -> str:
        there = " ".join(name for name, arena in self._arenas.items() if arena.is_mapped)
        return f"<ArenaWeights {there or 'of nothing'} | {self.mapped_bytes} bytes mapped>"

    @property
    def arena_bytes(self) -> int:
        """What modules' weights hold of the device."""
        return sum(each.byte_count for each in tuple(self._arenas.values()) if each.is_mapped)

    @property
    def scratch_bytes(self) -> int:
        """What memory without a master holds of the device."""
        arenas = sum(each.byte_count for each in tuple(self._scratch) if each.is_mapped)
        return arenas + sum(each.mapped_bytes for each in tuple(self._spaces.values()))

    @property
    def mapped_bytes(self) -> int:
        """What arenas hold of the device, scratch included."""
        return self.arena_bytes + self.scratch_bytes

    @property
    def strays(self) -> int:
        """How often memory that was away was found written to; 0 unless that is looked for."""
        return 0 if self._cover is None else self._cover.strays

    @property
    def failures(self) -> dict[ModuleName, DeviceDriverError]:
        """What the driver did to arenas that are broken for good; the service is not well if there are any."""
        holders: dict[ModuleName, Arena | ScratchSpace] = {**self._arenas, **self._spaces}
        return {name: each.failure for name, each in holders.items() if each.failure is not None}

    def failure(self, name: ModuleName) -> DeviceDriverError | None:
        """Return what broke a module's arena for good, None if nothing did."""
        return self.failures.get(name)

    def fail(self, name: ModuleName, error: DeviceDriverError) -> None:
        """Break a module's arena: what was done with it on the device has failed."""
        self._holder(name).fail(error)

    def weigh(self, module: object) -> int:
        """Return the bytes that a module in host memory will take."""
        if isinstance(module, ScratchModule):
            return module.space.byte_count
        # A network of a thousand tensors takes 15 ms: whoever admits it next need not do it again.
        _, layout = self._weighed = (module, self._layout(module))
        return whole_granules(self._driver, max(1, layout.byte_count))

    def admit(self, name: ModuleName, module: object) -> None:
        """Make a module's arena and lock its host memory, before it is ever restored."""
        if not isinstance(module, ScratchModule):
            with self._moving():
                self._admitted(name, module)

    def begin(self, name: ModuleName, module: object) -> None:
        """Let a module that was here before follow those under way; what cannot begin, `restore` does, or says why."""
        assert name not in self._begun, f"{name} has begun already"
        with suppress(DeviceDriverError), self._moving():
            if isinstance(module, ScratchModule):
                module.space.restore()
                self._begun[name] = None
            elif name in self._arenas and self._arenas[name].is_admitted:
                self._begun[name] = self._arenas[name].restore()

    def restore(self, name: ModuleName, module: object, *, meanwhile: Callable[[], object] = lambda: None) -> int:
        """Bring a module's weights to its arena and return its bytes.

        If it raises, the weights are in host memory and the device holds nothing of them.
        """
        if isinstance(module, ScratchModule):
            return self._restore_space(name, module.space)
        if self._begun.pop(name, None) is None:
            with self._moving():
                self._filled(self._admitted(name, module))
        arena = self._arenas[name]
        if not self._asynchronous:
            meanwhile()
            self._await(arena)
        return arena.byte_count

    def evict(self, name: ModuleName) -> int:
        """Take a module's memory away and return its bytes. Raises ArenaInUseError while anybody uses it."""
        holder = self._holder(name)
        holder.uses.check_unused()
        with suppress(DeviceDriverError):
            # Work that still runs is waited for before the driver's turn is taken; what is wrong is found again below.
            holder.uses.wait()
        with self._moving():
            return holder.evict()

    def forget(self, name: ModuleName) -> None:
        """Let go of a module's host memory; its addresses stay its own."""
        self._weighed = None
        if (arena := self._arenas.get(name)) is not None:
            with self._moving():
                arena.forget()

    def begin_work(self, names: Collection[ModuleName]) -> None:
        """Let this thread's current stream wait for modules that are still being copied; they stay until `end_work`.

        Raises DeviceDriverError, and then no use has begun.
        """
        begun: list[ModuleName] = []
        try:
            for name in names:
                self._holder(name).uses.enter()
                begun.append(name)
        except DeviceDriverError:
            self.end_work(begun)
            raise

    def end_work(self, names: Collection[ModuleName]) -> None:
        """End the use of modules: they stay until the device has done what is on this thread's current stream.

        Raises DeviceDriverError if the device cannot say when that is; the uses have ended all the same.
        """
        used, failed = None, None
        try:
            used = self._driver.used()
        except DeviceDriverError as error:
            failed = error
        for name in names:
            self._holder(name).uses.leave(used)
        if failed is not None:
            raise failed

    def scratch(self, name: str, byte_count: int) -> ScratchArena:
        """Return an arena without weights, with nothing behind it yet."""
        with self._moving():
            made = ScratchArena(name, byte_count, driver=self._driver, gate=self.gate, cover=self._cover)
        self._scratch.append(made)
        return made

    def space(self, name: ModuleName) -> ScratchSpace:
        """Return what a stage needs beside its weights, without any part yet, and away."""
        assert name not in self._spaces, f"{name} is there already"
        made = ScratchSpace(name, driver=self._driver, gate=self.gate, forget_cache=self._device.give_back)
        self._spaces[name] = made
        return made

    def usage(self, *, closely: bool = False) -> DeviceUsage:
        """Return what torch and the arenas hold of the device; graphs' memory is the arenas', not torch's."""
        torchs, arena_bytes, scratch_bytes = self._device.usage(), self.arena_bytes, self.scratch_bytes
        spaces, locked = tuple(self._spaces.values()), sum(each.locked_bytes for each in tuple(self._arenas.values()))
        waiting = next((each.waiting.usage() for each in spaces if each.waiting), None)
        torch_bytes = torchs.reserved_bytes - sum(each.pool_bytes for each in spaces)
        usage = DeviceUsage(
            reserved_bytes=max(torch_bytes, torchs.allocated_bytes) + arena_bytes + scratch_bytes,
            allocated_bytes=torchs.allocated_bytes + arena_bytes + scratch_bytes,
            arena_bytes=arena_bytes,
            scratch_bytes=scratch_bytes,
            pinned_host_bytes=locked + (waiting.held_bytes if waiting else 0),
            waiting=waiting,
        )
        return self._device.examined(usage) if closely else usage

    def give_back(self) -> None:
        """Return what torch keeps for use; what is mapped stays."""
        with self._moving():
            self._device.give_back()

    def forget_workspaces(self) -> None:
        """Let go of what libraries keep to compute in."""
        self._device.forget_workspaces()

    def trim(self) -> int:
        """Give back what scratch spaces hold beyond what is in use, and return its bytes; spaces stay where they are.

        A driver that fails breaks the space, and the next restore says it.
        """
        return sum(each.trim() for each in tuple(self._spaces.values()))

    def addresses(self) -> dict[ModuleName, int]:
        """Return where each module's arena begins, for life."""
        return {name: arena.address for name, arena in self._arenas.items()}

    def close(self) -> None:
        """Give everything back, addresses included; no tensor of any arena may be used after that."""
        with self._moving():
            for each in list[Arena | ScratchSpace]((*self._arenas.values(), *self._spaces.values())):
                each.close()
        while self._scratch:
            self._scratch.pop(0).close()
        for held in (self._arenas, self._begun, self._spaces):
            held.clear()

    def _layout(self, module: object) -> ArenaLayout:
        return arena_layout(module, flattening=self._flattening, adopt_from_bytes=self._adopt_from_bytes)

    def _admitted(self, name: ModuleName, module: object) -> Arena:
        """Return a module's arena with its weights; the addresses are those of its first time."""
        arena = self._arenas.get(name)
        if arena is None or not arena.is_admitted:
            weighed, self._weighed = self._weighed, None
            layout = weighed[1] if weighed is not None and weighed[0] is module else self._layout(module)
            if arena is None:
                arena = self._arenas[name] = Arena(name, layout, driver=self._driver, cover=self._cover)
            arena.admit(module, layout)
        return arena

    def _filled(self, arena: Arena) -> None:
        try:
            arena.restore()
        except DeviceMemoryError:
            # Torch keeps what it has freed; for this, it must not.
            self._device.give_back()
            arena.restore()

    def _await(self, arena: Arena) -> None:
        """Wait for copies, while others have their turn at the driver: a page may be wanted meanwhile."""
        try:
            arena.uses.arrive()
        except DeviceDriverError:
            with self._moving():
                arena.evict()
            raise

    def _restore_space(self, name: ModuleName, space: ScratchSpace) -> int:
        assert self._spaces.get(name) is space
        if name not in self._begun:
            with self._moving():
                space.restore()
        self._begun.pop(name, None)
        return space.byte_count

    def _holder(self, name: ModuleName) -> Arena | ScratchSpace:
        return self._arenas[name] if name in self._arenas else self._spaces[name]

    @contextmanager
    def _moving(self) -> Iterator[None]:
        with self.gate.moving():
            self._driver.make_current()
            yield


def _flattening_on(driver: DeviceDriver) -> Flattening:
    return cudnn_flattening(driver.device) if driver.device.type == "cuda" else laid_anyhow
