"""What reports of one engine after the other tell, as one service tells it: what is counted never falls. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tts_service.residency.types import ModuleStatus, ResidencyReport, Tier, WaitingUsage
from tts_service.types import ModuleName

NO_REPORT: Final = ResidencyReport(
    unix_seconds=0.0,
    modules=(),
    budget_bytes=None,
    home_bytes=0,
    applied_version=0,
    accepted_version=0,
    pending_moves=(),
    process_bytes=0,
    released_bytes=0,
    epoch=0,
    holder_id="",
    restore_waits=0,
    restore_wait_seconds=0.0,
)
"""What is known of an engine that has said nothing yet."""


class ReportSums:
    """Adds what engines that have gone had counted to what the one that is there counts."""

    def __init__(self) -> None:
        self._said = NO_REPORT
        self._before = NO_REPORT
        self._is_told = False
        """Whether the engine that is there has said anything."""

    @property
    def report(self) -> ResidencyReport:
        """What is, with what has been since the service began."""
        return self._said

    def reported(self, report: ResidencyReport) -> None:
        """Take in what an engine says."""
        before, self._is_told = self._before, True
        waited = None if before.device is None else before.device.waiting
        device = report.device
        if device is not None and device.waiting is not None and waited is not None:
            device = replace(device, waiting=_waiting_added(device.waiting, waited))
        counted = {each.module: each for each in before.modules}
        self._said = replace(
            report,
            modules=tuple(_module_added(each, counted) for each in report.modules),
            released_bytes=report.released_bytes + before.released_bytes,
            restore_waits=report.restore_waits + before.restore_waits,
            restore_wait_seconds=report.restore_wait_seconds + before.restore_wait_seconds,
            device=device,
        )

    def went(self) -> None:
        """Take in that the engine has gone: nothing is held, used or governed; what was counted stays."""
        if not self._is_told:
            return
        self._is_told = False
        self._before = said = self._said
        self._said = replace(
            said,
            modules=tuple(_gone(each) for each in said.modules),
            home_bytes=0,
            pending_moves=(),
            process_bytes=0,
            epoch=0,
            holder_id="",
            accepted_version=0,
            applied_version=0,
            device=None,
        )

    def __repr__(self) -> str:
        return f"<ReportSums {len(self._said.modules)} modules, {self._said.restore_waits} waits>"


def _module_added(module: ModuleStatus, before: Mapping[ModuleName, ModuleStatus]) -> ModuleStatus:
    counted = before.get(module.module)
    if counted is None:
        return module
    return replace(
        module,
        uses=module.uses + counted.uses,
        restores=module.restores + counted.restores,
        evictions=module.evictions + counted.evictions,
    )


def _gone(module: ModuleStatus) -> ModuleStatus:
    return replace(module, tier=Tier.DISK, bytes_by_tier={}, leases=0, claims=0)


def _waiting_added(waiting: WaitingUsage, before: WaitingUsage) -> WaitingUsage:
    return replace(
        waiting,
        departures=waiting.departures + before.departures,
        refusals=waiting.refusals + before.refusals,
        away_seconds=waiting.away_seconds + before.away_seconds,
    )
