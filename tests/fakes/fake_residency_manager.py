"""A residency manager without weights: the rules of the real one, and moves that take no time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tts_service.errors import CallerError, FieldViolation, Reason, bad_config
from tts_service.residency.history import MemoryReport, MemorySample, Phase, PhaseUsage
from tts_service.residency.trimming import MemoryKind, TrimmedKind, TrimReport
from tts_service.residency.types import (
    Authority,
    Directive,
    ModuleState,
    ModuleStatus,
    PendingMove,
    ResidencyReport,
    Tier,
)
from tts_service.types import VOICE, WATERMARK_DETECTOR, WATERMARK_ENCODER, ModuleName

MODULES = (VOICE, WATERMARK_ENCODER, WATERMARK_DETECTOR)
TIERS = (Tier.HOST, Tier.DISK)
HOME_BYTES = 1 << 20


@dataclass(slots=True, kw_only=True)
class _Module:
    status: ModuleStatus
    operator: Tier | None = None
    leases: int = 0


@dataclass(slots=True, kw_only=True)
class FakeResidencyManager:
    """Three modules on HOST and DISK, moved at once unless they are leased.

    `calls` holds every directive that was set. `block` makes `set_directive` wait, `directive_fault` makes it fail,
    and `fault` makes everything else fail. `reports` counts the reports that were made, `close_looks` those of them
    that were asked for closely; `trims` holds what every trim asked for.
    """

    calls: list[Directive | None] = field(default_factory=list)
    block: threading.Event | None = None
    directive_fault: Exception | None = None
    fault: Exception | None = None
    reports: int = 0
    close_looks: int = 0
    trims: list[tuple[bool, float]] = field(default_factory=list)
    _lock: threading.Condition = field(default_factory=threading.Condition)
    _modules: dict[ModuleName, _Module] = field(default_factory=dict)
    _directive: Directive | None = None
    _callbacks: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in MODULES:
            status = ModuleStatus(
                module=name, home=Tier.HOST, tier=Tier.HOST, state=ModuleState.RESTING, home_bytes=HOME_BYTES
            )
            self._modules[name] = _Module(status=status)

    def __repr__(self) -> str:
        tiers = " ".join(f"{name}={module.status.tier.name.lower()}" for name, module in self._modules.items())
        return f"<FakeResidencyManager {tiers} | {len(self._callbacks)} subscribers>"

    @property
    def subscribers(self) -> int:
        """How many callbacks are registered."""
        return len(self._callbacks)

    @property
    def directive(self) -> Directive | None:
        """The directive in force."""
        return self._directive

    def set_directive(self, directive: Directive | None) -> tuple[ModuleName, ...]:
        """Take a directive as a whole, or refuse it as a whole; it ends what operators placed."""
        if self.block is not None:
            self.block.wait()
        if self.directive_fault is not None:
            raise self.directive_fault
        if directive is not None:
            self._check(directive)
        with self._lock:
            self.calls.append(directive)
            self._directive = directive
            ended = self._end_placements() if directive is not None else ()
            self._settle()
        self._announce()
        return ended

    def place(self, module: ModuleName, tier: Tier | None, *, timeout_seconds: float) -> tuple[ModuleStatus, str]:
        """Move one module for an operator, waiting for its leases."""
        self._obey_test()
        if module not in self._modules:
            raise _unknown("module", module)
        if tier is not None and tier not in TIERS:
            raise bad_config("tier", f"{module} has no tier {tier.name}")
        with self._lock:
            if self._directive is not None:
                raise CallerError(Reason.GOVERNED, "a directive is in force")
            known = self._modules[module]
            known.operator = tier
            self._settle()
            self._lock.wait_for(lambda: self._wanted(module) is known.status.tier, timeout_seconds)
            pending = "" if self._wanted(module) is known.status.tier else "leased"
            status = replace(known.status, leases=known.leases)
        self._announce()
        return status, pending

    def trim(self, *, modules: bool, timeout_seconds: float) -> TrimReport:
        """Give half of the process back and, if asked, every module that is not leased."""
        self._obey_test()
        self.trims.append((modules, timeout_seconds))
        with self._lock:
            sent = [each for each in self._modules.values() if modules and not each.leases]
            for each in sent:
                each.status = replace(each.status, tier=Tier.DISK)
            kind = TrimmedKind(kind=MemoryKind.PROCESS, before_bytes=100, after_bytes=50, obstacle="busy")
            return TrimReport(kinds=(kind,), modules=tuple(each.status.module for each in sent), device=None)

    def report(self, *, closely: bool = False) -> ResidencyReport:
        """Say what is; epoch and holder are the governance's to add."""
        self._obey_test()
        self.close_looks += closely
        with self._lock:
            self.reports += 1
            pending = tuple(
                PendingMove(module=name, tier=self._wanted(name), reason="leased")
                for name, module in self._modules.items()
                if self._wanted(name) is not module.status.tier
            )
            version = self._directive.version if self._directive else 0
            return ResidencyReport(
                unix_seconds=1_700_000_000.25,
                modules=self._statuses(),
                budget_bytes=self._directive.budget_bytes if self._directive else None,
                home_bytes=sum(HOME_BYTES for module in self._modules.values() if module.status.tier is Tier.HOST),
                applied_version=0 if pending else version,
                accepted_version=version,
                pending_moves=pending,
                process_bytes=100 << 20,
                released_bytes=0,
                epoch=0,
                holder_id="",
                restore_waits=0,
                restore_wait_seconds=0.0,
            )

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after every change."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def memory_report(self, max_samples: int) -> MemoryReport:
        """Return as many equal samples as are asked for, at most 20,000."""
        self._obey_test()
        sample = MemorySample(unix_seconds=1.5, phase=Phase.IDLE, process_bytes=7, home_bytes=5)
        usage = PhaseUsage(
            phase=Phase.IDLE,
            samples=20_000,
            average_process_bytes=7,
            peak_process_bytes=8,
            average_home_bytes=5,
            peak_home_bytes=6,
        )
        with self._lock:
            return MemoryReport(
                samples=(sample,) * min(max_samples, 20_000),
                phases=(usage,),
                peak_process_bytes=8,
                peak_home_bytes=6,
                average_home_bytes=5,
                all_home_bytes=10,
                efficiency=0.5,
                restores=1,
                evictions=2,
                restored_bytes=3,
                released_bytes=4,
                modules=self._statuses(),
            )

    @contextmanager
    def lease(self, module: ModuleName) -> Iterator[None]:
        """Keep a module where it is, as a step of the pipeline does."""
        with self._lock:
            self._modules[module].leases += 1
        try:
            yield
        finally:
            with self._lock:
                self._modules[module].leases -= 1
                self._settle()
            self._announce()

    def change(self) -> None:
        """Announce a change, as a move does."""
        self._announce()

    def close(self) -> None:
        """Forget the subscribers."""
        self._callbacks.clear()

    def _check(self, directive: Directive) -> None:
        if directive.budget_bytes is not None and directive.budget_bytes < 0:
            raise bad_config("budget_bytes", f"{directive.budget_bytes} is negative")
        names = [placement.module for placement in directive.placements]
        for position, placement in enumerate(directive.placements):
            where = f"placements[{position}]"
            if placement.module not in self._modules:
                raise _unknown(f"{where}.module", placement.module)
            if placement.module in names[:position]:
                raise bad_config(f"{where}.module", f"{placement.module} is listed twice")
            if placement.tier not in TIERS:
                raise bad_config(f"{where}.tier", f"{placement.module} has no tier {placement.tier.name}")

    def _end_placements(self) -> tuple[ModuleName, ...]:
        ended = tuple(name for name, module in self._modules.items() if module.operator is not None)
        for name in ended:
            self._modules[name].operator = None
        return ended

    def _wanted(self, name: ModuleName) -> Tier:
        """Operator over directive over home."""
        operator = self._modules[name].operator
        if operator is not None:
            return operator
        wishes = self._directive.placements if self._directive else ()
        return next((wish.tier for wish in wishes if wish.module == name), Tier.HOST)

    def _settle(self) -> None:
        for name, module in self._modules.items():
            if not module.leases:
                authority = Authority.OPERATOR if module.operator else Authority.DEFAULT
                module.status = replace(module.status, tier=self._wanted(name), authority=authority)
        self._lock.notify_all()

    def _statuses(self) -> tuple[ModuleStatus, ...]:
        return tuple(replace(module.status, leases=module.leases) for module in self._modules.values())

    def _announce(self) -> None:
        for callback in list(self._callbacks):
            callback()

    def _obey_test(self) -> None:
        if self.fault is not None:
            raise self.fault


def _unknown(where: str, module: ModuleName) -> CallerError:
    words = f"there is no module {module!r}"
    violation = FieldViolation(field=where, description=words)
    return CallerError(Reason.MODULE_NOT_FOUND, words, violations=(violation,), metadata={"module": module})
