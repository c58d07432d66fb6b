"""Several GPUs, several services on each, one daemon: a World whose devices have memory of their own.

A module that is called home comes only when it is let, so that more than one ordered restore at a time would show.
"""

from collections.abc import Iterable
from pathlib import Path

from memory_daemon.board import DeviceStatus
from memory_daemon.marks import Policy
from memory_daemon.types import (
    Device,
    DeviceId,
    MemorySample,
    ModuleName,
    ModuleStatus,
    Placement,
    Sample,
    ServiceName,
    Tier,
)
from tests.fakes.daemon_world import World, WorldMemory, WorldService

SIZES = {"t3": 400, "flow": 200, "vocoder": 100}


class SharedGpus(World):
    """A machine with GPUs; `floors` is what each service keeps whatever happens."""

    def __init__(
        self, folder: Path, policy: Policy, devices: Iterable[DeviceId], floors: dict[str, int] | None = None
    ) -> None:
        self.memories = {device: WorldMemory(device=device, total_bytes=4000, used_bytes=500) for device in devices}
        super().__init__(folder, policy, next(iter(self.memories.values())), floors)
        self.comes_home = True

    def serve(self, name: str, device: DeviceId) -> WorldService:
        """Start a service on a device, with all its modules at home."""
        modules = {
            ModuleName(module): ModuleStatus(
                module=ModuleName(module), home=Tier.DEVICE, tier=Tier.DEVICE, home_bytes=size
            )
            for module, size in SIZES.items()
        }
        found = WorldService(name=ServiceName(name), device=Device(device=device, tier=Tier.DEVICE), modules=modules)
        self.add(found)
        return found

    def on(self, device: DeviceId) -> list[WorldService]:
        """Return the services that are up on a device."""
        return [service for service in self.found.values() if service.up and service.device.device == device]

    def free_on(self, device: DeviceId) -> int:
        """Return what is free on a device."""
        memory = self.memories[device]
        return max(0, memory.total_bytes - memory.used_bytes - sum(one.held_bytes for one in self.on(device)))

    def sample(self, device: DeviceId) -> Sample:
        """Read one device's memory."""
        self.clock.advance(0.000_01)
        return MemorySample(
            device=device,
            seconds=self.clock.now_seconds,
            unix_seconds=self.unix_clock(),
            total_bytes=self.memories[device].total_bytes,
            free_bytes=self.free_on(device),
        )

    def status_of(self, device: DeviceId) -> DeviceStatus | None:
        """Return what the daemon shows of a device; None if it does not watch it now."""
        found = [one for one in self.board.status.devices if one.sample.device == device]
        return found[0] if found else None

    def called_home(self, device: DeviceId) -> list[ModuleName]:
        """Return the modules that directives in force call home and that are not there."""
        return [
            placement.module
            for service in self.on(device)
            for placement in service.placements
            if _is_call_home(service, placement)
        ]

    def _obey(self, service: WorldService) -> None:
        wanted = service.placements
        if not self.comes_home:
            service.placements = tuple(one for one in wanted if not _is_call_home(service, one))
        super()._obey(service)
        service.placements = wanted


def _is_call_home(service: WorldService, placement: Placement) -> bool:
    status = service.modules[placement.module]
    return placement.tier <= status.home and not status.at_home
