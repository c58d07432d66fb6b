"""What is known of one service from outside its link: a value, so that nobody waits to read it."""

from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from memory_daemon.types import HOST, Device, DeviceId, Refusal, ResidencyReport, ServiceName, Tier, says_the_same
from memory_daemon.usage import TrimAnswer


class LinkState(Enum):
    """How it stands with a service. SUPERSEDED ends only with a restart of the daemon."""

    CONNECTING = "connecting"
    GOVERNING = "governing"
    REFUSED = "refused"
    SUPERSEDED = "superseded"


UNKNOWN_DEVICE = Device(device=DeviceId(""), tier=Tier.HOST)
"""Before a service has said what it computes in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkView:
    """One service; `reason` says why it is not governed, and `report` is its last one, however old."""

    socket: Path
    service: ServiceName
    state: LinkState = LinkState.CONNECTING
    reason: str = "connecting"
    instance_id: str = ""
    epoch: int = 0
    device: Device = UNKNOWN_DEVICE
    report: ResidencyReport | None = None
    directive_version: int = 0
    refusal: Refusal | None = None
    trimmed: TrimAnswer | None = None

    @property
    def governed(self) -> bool:
        """Whether this daemon's word counts there."""
        return self.state is LinkState.GOVERNING


def tells_the_same(before: LinkView, after: LinkView) -> bool:
    """Tell whether two views differ in nothing but the time of their reports."""
    if before is after:
        return True
    if before.report is None or after.report is None:
        return before == after
    return says_the_same(before.report, after.report) and replace(after, report=before.report) == before


def home_device(devices: tuple[Device, ...]) -> Device:
    """Return the memory that a service computes in: of those that it names, the closest to the computation."""
    return min(devices, key=lambda device: device.tier, default=Device(device=HOST, tier=Tier.HOST))
