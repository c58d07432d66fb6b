"""Modules on a device in arenas: weights that come at the rate of the bus and go in no time, to the same addresses.

It is what `DeviceTensors` is where memory can be mapped. Unlike there, a module's tensors are those of its arena from
its first restore on: while it is away they must not be used, on the host as little as on the device.
"""

from collections.abc import Collection

import structlog

from tts_service.residency.arena import Arena
from tts_service.residency.arena_layout import ADOPT_FROM_BYTES, ArenaLayout, arena_layout
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.device_driver import DeviceDriver, DeviceDriverError, DeviceMemoryError
from tts_service.residency.recurrent_layout import Flattening, cudnn_flattening, laid_anyhow
from tts_service.residency.scratch_arena import ScratchArena
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
        self._scratch: list[ScratchArena] = []
        self._cover: StrayCover | None = None
        if finds_strays:
            with gate.moving():
                driver.make_current()
                self._cover = StrayCover(driver)

    def __repr__(self) -> str:
        there = [name for name, arena in self._arenas.items() if arena.is_mapped]
        return f"<ArenaWeights {' '.join(there) or 'of nothing'} | {self.mapped_bytes} bytes mapped>"

    @property
    def mapped_bytes(self) -> int:
        """What arenas hold of the device, scratch included: torch knows nothing of it."""
        arenas = sum(each.byte_count for each in self._arenas.values() if each.is_mapped)
        return arenas + sum(each.byte_count for each in self._scratch if each.is_mapped)

    @property
    def strays(self) -> int:
        """How often memory that was away was found written to; 0 unless that is looked for."""
        return 0 if self._cover is None else self._cover.strays

    @property
    def failures(self) -> dict[str, DeviceDriverError]:
        """What the driver did to arenas that are broken for good; the service is not well if there are any."""
        return {name: arena.failure for name, arena in self._arenas.items() if arena.failure is not None}

    def weigh(self, module: object) -> int:
        """Return the bytes that a module in host memory will take."""
        granule = self._driver.granularity_bytes
        return -(-max(1, self._layout(module).byte_count) // granule) * granule

    def restore(self, name: ModuleName, module: object) -> int:
        """Bring a module's weights to its arena and return its bytes.

        If it raises, the weights are in host memory and the device holds nothing of them.
        """
        with self.gate.moving():
            self._driver.make_current()
            arena = self._admitted(name, module)
            self._bring(arena)
        return arena.byte_count

    def evict(self, name: ModuleName) -> int:
        """Take a module's memory away and return its bytes. Raises ArenaInUseError while anybody uses it."""
        with self.gate.moving():
            self._driver.make_current()
            return self._arenas[name].evict()

    def forget(self, name: ModuleName) -> None:
        """Let go of a module's host memory; its addresses stay its own."""
        arena = self._arenas.get(name)
        if arena is not None:
            with self.gate.moving():
                self._driver.make_current()
                arena.forget()

    def begin_work(self, names: Collection[ModuleName]) -> None:
        """Let this thread's current stream wait for modules that are still being copied; they stay until `end_work`."""
        for name in names:
            self._arenas[name].uses.enter()

    def end_work(self, names: Collection[ModuleName]) -> None:
        """End the use of modules: they stay until the device has done what is on this thread's current stream."""
        used = self._driver.used()
        for name in names:
            self._arenas[name].uses.leave(used)

    def finish_work(self) -> None:
        """Wait until the device has done what is on this thread's current stream."""
        self._device.finish_work()

    def scratch(self, name: str, byte_count: int) -> ScratchArena:
        """Return an arena without weights, with nothing behind it yet."""
        with self.gate.moving():
            self._driver.make_current()
            made = ScratchArena(name, byte_count, driver=self._driver, gate=self.gate, cover=self._cover)
        self._scratch.append(made)
        return made

    def usage(self) -> DeviceUsage:
        """Return what torch and the arenas hold of the device."""
        torchs, mapped_bytes = self._device.usage(), self.mapped_bytes
        return DeviceUsage(
            reserved_bytes=torchs.reserved_bytes + mapped_bytes, allocated_bytes=torchs.allocated_bytes + mapped_bytes
        )

    def addresses(self) -> dict[ModuleName, int]:
        """Return where each module's arena begins, for life."""
        return {name: arena.address for name, arena in self._arenas.items()}

    def close(self) -> None:
        """Give everything back, addresses included; no tensor of any arena may be used after that."""
        with self.gate.moving():
            self._driver.make_current()
            for arena in self._arenas.values():
                arena.close()
        for scratch in self._scratch:
            scratch.close()
        self._arenas.clear()
        self._scratch.clear()

    def _layout(self, module: object) -> ArenaLayout:
        return arena_layout(module, flattening=self._flattening, adopt_from_bytes=self._adopt_from_bytes)

    def _admitted(self, name: ModuleName, module: object) -> Arena:
        """Return a module's arena with its weights; the addresses are those of its first time."""
        arena = self._arenas.get(name)
        if arena is None or not arena.is_admitted:
            layout = self._layout(module)
            if arena is None:
                arena = self._arenas[name] = Arena(name, layout, driver=self._driver, cover=self._cover)
            arena.admit(module, layout)
        return arena

    def _bring(self, arena: Arena) -> None:
        try:
            arrived = arena.restore()
        except DeviceMemoryError:
            # Torch keeps what it has freed; for this, it must not.
            self._device.give_back()
            arrived = arena.restore()
        if not self._asynchronous:
            try:
                arrived.wait()
            except DeviceDriverError:
                arena.evict()
                raise


def _flattening_on(driver: DeviceDriver) -> Flattening:
    return cudnn_flattening(driver.device) if driver.device.type == "cuda" else laid_anyhow
