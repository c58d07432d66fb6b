"""One module's addresses on a device, and its weights in host memory, which fill them again whenever they come back.

The tensors are made once over the addresses and are the module's parameters and buffers for life, also while nothing is
behind them: CUDA graphs, compiled code and everybody else who knows an address may go on knowing it. Weights do not
change, so that nothing is copied when they leave.
"""

from collections.abc import Sequence

import structlog
import torch

from tts_service.residency.address_range import AddressRange
from tts_service.residency.arena_layout import ArenaLayout, Place
from tts_service.residency.device_driver import DeviceDriver, DeviceDriverError, DeviceEvent
from tts_service.residency.fixed_weights import fix_weights
from tts_service.residency.locked_master import LockedMaster
from tts_service.residency.raw_tensor import storage_over, strided_over
from tts_service.residency.stray_cover import StrayCover
from tts_service.residency.use_record import UseRecord
from tts_service.types import ModuleName

_log = structlog.get_logger(__name__)


class ArenaError(Exception):
    """An arena cannot do what it was asked for; the message says why."""


class Arena:
    """The addresses of a module that is laid out like this. See `AddressRange` for who may call, and when.

    `uses` may be told of work by any thread.
    """

    def __init__(
        self, name: ModuleName, layout: ArenaLayout, *, driver: DeviceDriver, cover: StrayCover | None = None
    ) -> None:
        self.uses = UseRecord(name)
        self._name = name
        self._driver = driver
        self._places = layout.places
        self._range = AddressRange(driver, max(1, layout.byte_count), cover=cover)
        self._views = _views(driver.device, self._range.address, layout.places)
        self._master: LockedMaster | None = None
        self._failure: DeviceDriverError | None = None

    def __repr__(self) -> str:
        there = "broken" if self._failure else ("device" if self.is_mapped else "host" if self._master else "disk")
        return f"<Arena {self._name}={there} | {self.address:#x} | {self.byte_count} bytes>"

    @property
    def address(self) -> int:
        """The first address."""
        return self._range.address

    @property
    def byte_count(self) -> int:
        """What it takes of the device while it is there."""
        return self._range.byte_count

    @property
    def is_mapped(self) -> bool:
        """Whether it takes memory of the device."""
        return self._range.is_mapped

    @property
    def is_admitted(self) -> bool:
        """Whether a module's weights are here, on the host at least."""
        return self._master is not None

    @property
    def locked_bytes(self) -> int:
        """What it holds locked of host memory."""
        return 0 if self._master is None else self._master.locked_bytes

    @property
    def failure(self) -> DeviceDriverError | None:
        """What broke it for good, if anything did: nobody knows what is behind its addresses."""
        return self._failure

    def fail(self, error: DeviceDriverError) -> None:
        """Break it; what broke it first counts."""
        self._failure = self._failure or error

    def admit(self, module: object, layout: ArenaLayout) -> None:
        """Take over a module's weights from its host memory, and make its tensors those of the arena.

        Raises ArenaError if the module is not laid out as the arena's first was.
        """
        assert self._master is None, f"{self._name} has weights already"
        if layout.places != self._places:
            raise ArenaError(f"{self._name} is not laid out as it was when its arena was made")
        self._master = LockedMaster(self._name, layout, self._driver)
        for tensor, view in zip(layout.tensors, self._views, strict=True):
            tensor.data = view
        fix_weights(self._name, module)

    def restore(self) -> DeviceEvent:
        """Bring the weights to the device; they are there when the event has come, for which all use must wait.

        Raises DeviceMemoryError or DeviceDriverError, and then takes nothing of the device.
        """
        assert self._master is not None, f"{self._name} has no weights"
        if self._failure is not None:
            raise self._failure
        self._range.map()
        try:
            self._master.begin_copies(self.address)
            arrived = self._driver.copied()
        except DeviceDriverError:
            self._give_up()
            raise
        self.uses.begin(arrived)
        return arrived

    def evict(self) -> int:
        """Give the memory back, copying nothing, and return its bytes.

        Raises ArenaInUseError while anybody uses it. A driver that fails breaks the arena, which is not raised: the
        weights are in host memory all the same, and the next restore says it.
        """
        self.uses.check_unused()
        try:
            self.uses.wait()
            self._range.unmap()
        except DeviceDriverError as error:
            self._failure = error
            _log.exception("arena_broken", module=self._name, call=error.call)
            return 0
        return self.byte_count

    def forget(self) -> None:
        """Let go of the weights in host memory; the addresses stay, for the same module when it comes back."""
        assert not self.is_mapped or self._failure is not None, f"{self._name} is on the device still"
        if self._master is not None:
            self._master.unlock()
            self._master = None

    def close(self) -> None:
        """Give back everything, addresses included; no tensor of it may be used after that."""
        self.uses.wait()
        self.uses.clear()
        self._range.close()
        self.forget()

    def _give_up(self) -> None:
        """Take back memory into which something may still be copied."""
        try:
            self._driver.copied().wait()
            self._range.unmap()
        except DeviceDriverError as error:
            self._failure = error
            _log.exception("arena_broken", module=self._name, call=error.call)


def _views(device: torch.device, address: int, places: Sequence[Place]) -> list[torch.Tensor]:
    """Return tensors at their places; those that share bytes share a storage."""
    storages = {
        (each.storage_begin, each.storage_bytes): storage_over(device, address + each.storage_begin, each.storage_bytes)
        for each in places
    }
    return [
        strided_over(
            storages[each.storage_begin, each.storage_bytes],
            device,
            dtype=each.dtype,
            shape=each.shape,
            stride=each.stride,
            offset_bytes=each.offset_bytes,
        )
        for each in places
    ]
