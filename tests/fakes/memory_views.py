"""Small values of the memory daemon for tables of tests: modules, services and observations with plain numbers."""

from dataclasses import replace
from typing import Any

from memory_daemon.orders import DeviceState, Observation, ServiceView, follow_services
from memory_daemon.types import (
    HOST,
    MemorySample,
    ModuleName,
    ModuleStatus,
    ResidencyReport,
    ServiceName,
    Tier,
)

SPEECH = ServiceName("speech")
UNIX_SECONDS = 1_700_000_000.0


def module(name: str, size: int = 100, **values: Any) -> ModuleStatus:
    """Return a module at home in host memory, or as the values say."""
    status = ModuleStatus(module=ModuleName(name), home=Tier.HOST, tier=Tier.HOST, home_bytes=size)
    return replace(status, **values)


def used(name: str, size: int = 100, *, ago: float = 1.0, **values: Any) -> ModuleStatus:
    """Return a module that was last used so many seconds ago."""
    return module(name, size, uses=1, last_use_unix_seconds=UNIX_SECONDS - ago, **values)


def away(name: str, size: int = 100, *, ago: float = 1.0, **values: Any) -> ModuleStatus:
    """Return a module on disk that was last used so many seconds ago."""
    return used(name, size, ago=ago, tier=Tier.DISK, **values)


def service(*modules: ModuleStatus, name: ServiceName = SPEECH, **values: Any) -> ServiceView:
    """Return a service with these modules."""
    report = ResidencyReport(unix_seconds=UNIX_SECONDS, modules=modules)
    return replace(ServiceView(service=name, instance_id="one", tier=Tier.HOST, report=report), **values)


def seen(*services: ServiceView, free: int = 1000, now: float = 100.0, **values: Any) -> Observation:
    """Return an observation of 1,000 bytes of memory."""
    sample = MemorySample(device=HOST, seconds=now, unix_seconds=UNIX_SECONDS, total_bytes=1000, free_bytes=free)
    return replace(Observation(sample=sample, services=services), **values)


def known(observation: Observation, state: DeviceState | None = None) -> DeviceState:
    """Return the state in which an observation's reports are taken in."""
    return follow_services(DeviceState() if state is None else state, observation)
