"""A module of a simulated service: where it is, what it holds there, and what its service would say of it.

It knows no clock: time is an argument. Beside a GPU it keeps a master in host memory, unless it is on disk.
"""

from dataclasses import dataclass

from memory_daemon.masters import host_bytes
from memory_daemon.modules import UNMEASURED_BYTES_PER_SECOND, UNMEASURED_SECONDS
from memory_daemon.simulation_trace import ServiceCame
from memory_daemon.types import Authority, ModuleName, ModuleState, ModuleStatus, Tier, TierBytes

UTTERANCE_SECONDS = 2.0
"""A use is part of an utterance, which claims its modules; most last longer."""
STEP_SECONDS = 0.05
"""A use is a step, which leases its modules; a step of speech takes 2 to 50 ms."""
DISK_BYTES_PER_SECOND = 2_000_000_000
"""A master that is read from disk comes so fast; NVMe disks give 2 to 7 GB/s."""


@dataclass(slots=True, kw_only=True)
class SimulatedModule:
    """One module now. `ready_seconds` is when its restore ends, None while none is under way."""

    module: ModuleName
    home: Tier
    tier: Tier
    home_bytes: int
    restore_seconds: float
    pinned: bool
    uses: int
    last_use_seconds: float | None
    measured: bool = False
    ready_seconds: float | None = None
    claims: int = 0
    authority: Authority = Authority.DEFAULT
    restores: int = 0
    evictions: int = 0
    rest: Tier | None = None
    master_bytes: int = 0

    @property
    def held_bytes(self) -> int:
        """What it takes at home; the room is taken when a restore begins."""
        return self.home_bytes if self.tier <= self.home or self.ready_seconds is not None else 0

    @property
    def host_bytes(self) -> int:
        """What its master takes of host memory beside a GPU; the room is taken when it begins to be read."""
        return 0 if self.tier is Tier.DISK and self.ready_seconds is None else self.master_bytes

    @property
    def way_home_seconds(self) -> float:
        """How long it takes home from where it is."""
        return self.restore_seconds + (self.master_bytes / DISK_BYTES_PER_SECOND if self.tier is Tier.DISK else 0.0)

    def shifts_to(self, tier: Tier) -> bool:
        """Tell whether it is away from home, and would wait in another tier there."""
        return bool(self.master_bytes) and not self.held_bytes and self.home < tier is not self.tier

    def claimed(self, now_seconds: float) -> bool:
        """Tell whether an open utterance has an interest in it."""
        return self.claims > 0 or self._used_within(UTTERANCE_SECONDS, now_seconds)

    def leased(self, now_seconds: float) -> bool:
        """Tell whether a step uses it, or waits for it."""
        return self.ready_seconds is not None or self._used_within(STEP_SECONDS, now_seconds)

    def _used_within(self, seconds: float, now_seconds: float) -> bool:
        return self.last_use_seconds is not None and now_seconds - self.last_use_seconds < seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A module that moved, or began to come home."""

    module: ModuleName
    home: bool
    authority: Authority


def module_of(status: ModuleStatus, came: ServiceCame) -> SimulatedModule:
    """Return a module as its service brought it."""
    last_use = status.last_use_unix_seconds
    assumed_seconds = UNMEASURED_SECONDS + status.home_bytes / UNMEASURED_BYTES_PER_SECOND
    return SimulatedModule(
        module=status.module,
        home=status.home,
        tier=status.tier,
        home_bytes=status.home_bytes,
        restore_seconds=assumed_seconds if status.restore_seconds is None else status.restore_seconds,
        pinned=status.pinned,
        uses=status.uses,
        last_use_seconds=None if last_use is None else last_use - came.unix_seconds + came.seconds,
        rest=status.rest,
        master_bytes=_master_bytes(status),
    )


def _master_bytes(status: ModuleStatus) -> int:
    """Return what a module keeps in host memory beside a GPU; on disk it is told only by where it would rather be."""
    if status.home is not Tier.DEVICE:
        return 0
    on_disk = status.tier is Tier.DISK and status.rest is not None
    return status.home_bytes if on_disk else host_bytes(status)


def status_of(module: SimulatedModule, now_seconds: float, unix_seconds: float) -> ModuleStatus:
    """Return what its service would report of a module now."""
    last_seconds = module.last_use_seconds
    return ModuleStatus(
        module=module.module,
        home=module.home,
        tier=module.tier,
        state=ModuleState.RESTING if module.ready_seconds is None else ModuleState.RESTORING,
        home_bytes=module.home_bytes,
        leases=int(module.leased(now_seconds)),
        claims=max(module.claims, int(module.claimed(now_seconds))),
        uses=module.uses,
        last_use_unix_seconds=None if last_seconds is None else unix_seconds - max(0.0, now_seconds - last_seconds),
        restore_seconds=module.restore_seconds if module.measured else None,
        authority=module.authority,
        restores=module.restores,
        evictions=module.evictions,
        pinned=module.pinned,
        rest=module.rest,
        held=(TierBytes(tier=Tier.HOST, size_bytes=module.host_bytes),) if module.host_bytes else (),
    )
