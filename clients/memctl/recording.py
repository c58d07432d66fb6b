"""What the daemon shows, written down as a trace: lines of its journal's own form. Pure.

The stream tells samples and whole reports, so that memory, demand and moves can be replayed. It does not tell what the
journal tells besides: what a decision was made from, who changed a number, and which instance of a service speaks; a
restart is seen here by its epoch. Readings between two ticks are not lost: the daemon sends one status a tick.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from memctl.types import DeviceMemory, ModuleStatus, Report, ServiceStatus, Status, Tier

SCHEMA = 1
TIER_NUMBERS = {Tier.DEVICE: 1, Tier.HOST: 2, Tier.DISK: 3}
KNOWN_PRESSURES = {"room", "steady", "low", "critical"}


@dataclass(slots=True)
class Recording:
    """What was written last, so that only news is written."""

    samples: dict[str, tuple[int, str]] = field(default_factory=dict)
    services: dict[str, tuple[bool, int, str]] = field(default_factory=dict)
    reports: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    counts: dict[str, tuple[dict[str, int], int, float, dict[str, int]]] = field(default_factory=dict)
    decided: float = 0.0

    def lines(self, status: Status, now_unix_seconds: float) -> list[str]:
        """Return what is new in a status, as lines of a trace; services before samples, as the daemon sees them."""
        found: list[dict[str, Any]] = []
        for service in status.services:
            found += self._service(service)
        for device in status.devices:
            found += self._sample(device)
        return [_line(record, now_unix_seconds) for record in found]

    def _sample(self, device: DeviceMemory) -> list[dict[str, Any]]:
        news = (device.free_bytes, device.error)
        if self.samples.get(device.device) == news:
            return []
        self.samples[device.device] = news
        pressure = str(device.pressure)
        record = {
            "kind": "sample",
            "device": device.device,
            "pressure": pressure if pressure in KNOWN_PRESSURES else "unknown",
            "total_bytes": device.total_bytes,
            "free_bytes": device.free_bytes,
            "error": device.error,
        }
        return [record]

    def _service(self, service: ServiceStatus) -> list[dict[str, Any]]:
        found = []
        state = (service.governed, service.epoch, service.device)
        if self.services.get(service.service) != state:
            self.services[service.service] = state
            self.counts.pop(service.service, None)
            self.reports.pop(service.service, None)
            found.append(
                {
                    "kind": "service",
                    "service": service.service,
                    "device": service.device,
                    "governed": service.governed,
                    "reason": service.reason,
                    "epoch": service.epoch,
                    "instance_id": f"{service.service}-{service.epoch}",
                }
            )
        if service.governed and service.report is not None:
            found += self._report(service, service.report) + self._demand(service.service, service.report)
        return found

    def _report(self, service: ServiceStatus, report: Report) -> list[dict[str, Any]]:
        news = tuple((one.module, one.tier, one.home_bytes, one.pinned) for one in report.modules)
        if self.reports.get(service.service) == news:
            return []
        self.reports[service.service] = news
        record = {
            "kind": "report",
            "service": service.service,
            "device": service.device,
            "report": {
                "unix_seconds": report.unix_seconds or 0.0,
                "modules": [_module(one) for one in report.modules if one.home in TIER_NUMBERS],
                "budget_bytes": report.budget_bytes,
                "home_bytes": report.home_bytes,
                "released_bytes": report.released_bytes,
            },
        }
        return [record]

    def _demand(self, service: str, report: Report) -> list[dict[str, Any]]:
        uses = {one.module: one.uses for one in report.modules}
        claims = {one.module: one.claims for one in report.modules if one.claims}
        now = (uses, report.restore_waits, report.restore_wait_seconds, claims)
        before = self.counts.get(service)
        self.counts[service] = now
        if before is None:
            return []
        used = {name: times - before[0].get(name, 0) for name, times in uses.items()}
        used = {name: times for name, times in used.items() if times > 0}
        if not used and before[3] == claims:
            return []
        record = {
            "kind": "demand",
            "service": service,
            "uses": used,
            "restore_waits": max(0, report.restore_waits - before[1]),
            "restore_wait_seconds": max(0.0, report.restore_wait_seconds - before[2]),
            "claims": claims,
        }
        return [record]


def _module(one: ModuleStatus) -> dict[str, Any]:
    told = {name: value for name, value in asdict(one).items() if name not in {"bytes_by_tier", "rest"}}
    return {
        **told,
        "home": TIER_NUMBERS[one.home],
        "tier": TIER_NUMBERS.get(one.tier, TIER_NUMBERS[one.home]),
        "state": str(one.state),
        "authority": str(one.authority),
    }


def _line(record: dict[str, Any], unix_seconds: float) -> str:
    return json.dumps({"schema": SCHEMA, "time": round(unix_seconds, 6), **record}, allow_nan=False)
