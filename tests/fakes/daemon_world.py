"""A machine in one thread: memory, services and operators around the daemon's real loop, on a clock that is set.

Services obey directives between two ticks, as the protocol says: a leased module never leaves, a claimed one only when
it is urgent, a directive that names what is not there is refused as a whole, and the versions of a reign rise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from memory_daemon.board import Board, Status
from memory_daemon.director import Director
from memory_daemon.gpu_memory import GpuEvent, ProcessUse
from memory_daemon.journal_records import Record
from memory_daemon.link_view import LinkState, LinkView
from memory_daemon.loop import Loop
from memory_daemon.marks import Policy
from memory_daemon.override_store import OverrideStore
from memory_daemon.recollection import Recollection
from memory_daemon.recorder import Recorder
from memory_daemon.sizes import size_text
from memory_daemon.store import PolicyStore
from memory_daemon.types import (
    Authority,
    Device,
    DeviceId,
    Directive,
    MemorySample,
    ModuleName,
    ModuleStatus,
    PendingMove,
    Placement,
    Refusal,
    ResidencyReport,
    Sample,
    SampleFailed,
    ServiceName,
    Tier,
    TierBytes,
    Urgency,
)
from memory_daemon.usage import DeviceUsage, HostReading, TrimAnswer
from tests.fakes.manual_clock import ManualClock

UNIX_START_SECONDS = 1_700_000_000.0


@dataclass
class WorldMemory:
    """Memory of one device: what services hold comes on top of what others use."""

    device: DeviceId
    total_bytes: int
    used_bytes: int
    failure: str = ""
    lost: bool = False


@dataclass
class WorldService:
    """A service: its modules as it reports them, and the reign it is under."""

    name: ServiceName
    device: Device
    modules: dict[ModuleName, ModuleStatus]
    epoch: int = 1
    instance: int = 1
    released_bytes: int = 0
    placements: tuple[Placement, ...] = ()
    budget_bytes: int | None = None
    version: int = 0
    refusal: Refusal | None = None
    refuses: bool = False
    up: bool = True
    directives: list[Directive] = field(default_factory=list)
    kept_bytes: int = 0
    stuck_bytes: int = 0
    trimmed: TrimAnswer | None = None
    largest_step_bytes: int = 0

    @property
    def held_bytes(self) -> int:
        """What its modules hold at home, and its allocator beside them; of that `stuck_bytes` cannot be given back."""
        return self.kept_bytes + self.module_bytes

    @property
    def module_bytes(self) -> int:
        """What its modules hold at home."""
        return sum(status.home_bytes for status in self.modules.values() if status.at_home)


class World:
    """Everything around the loop; `log` holds a line for each thing that happened, with its time."""

    def __init__(
        self,
        folder: Path,
        policy: Policy,
        memory: WorldMemory,
        floors_bytes: Mapping[str, int] | None = None,
        recollection: Recollection | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.memory = memory
        self.host: HostReading | None = None
        self.found: dict[ServiceName, WorldService] = {}
        self.records: list[Record] = []
        self.log: list[str] = []
        self.start_seconds = self.clock.now_seconds
        self.policies = PolicyStore(folder=folder, initial=policy, unix_clock=self.unix_clock)
        self.overrides = OverrideStore(folder=folder, unix_clock=self.unix_clock)
        self.board = Board(first=Status(holder_id="holder", kept=self.policies.current), watchers_maximum=1)
        recorder = Recorder(write=self.records.append, clock=self.clock)
        self.loop = Loop(
            sampler=self,
            services=self,
            policies=self.policies,
            overrides=self.overrides,
            director=Director(mailboxes=self, recorder=recorder),
            recorder=recorder,
            board=self.board,
            clock=self.clock,
            devices=(memory.device,),
            floors_bytes=floors_bytes or {},
            recollection=recollection,
            host_reading=lambda: self.host,
        )
        self._next_tick_seconds = self.clock.now_seconds
        self._pressure = ""
        self._seen_decisions: tuple[object, ...] = ()

    def __repr__(self) -> str:
        return f"<World {self.seconds:.2f} s | {self.free_bytes} free | {self.loop!r}>"

    @property
    def seconds(self) -> float:
        """Time since the beginning."""
        return self.clock.now_seconds - self.start_seconds

    @property
    def free_bytes(self) -> int:
        """What is free on the device."""
        held_bytes = sum(service.held_bytes for service in self.found.values() if service.up)
        return max(0, self.memory.total_bytes - self.memory.used_bytes - held_bytes)

    def unix_clock(self) -> float:
        """Wall time: it runs along."""
        return UNIX_START_SECONDS + self.seconds

    def run(self, seconds: float) -> None:
        """Let time pass, tick by tick."""
        until_seconds = self.clock.now_seconds + seconds
        while self._next_tick_seconds <= until_seconds + 1e-9:
            self.clock.advance(max(0.0, self._next_tick_seconds - self.clock.now_seconds))
            self.tick()
        self.clock.advance(max(0.0, until_seconds - self.clock.now_seconds))

    def tick(self) -> None:
        """Let the loop tick once, then let services do what they were told."""
        rest_seconds = self.loop.tick()
        least_seconds = self.policies.current.policy.minimum_period_seconds
        self._next_tick_seconds = self.clock.now_seconds + max(least_seconds, rest_seconds)
        self._say_pressure()
        self._say_decisions()
        for service in self.found.values():
            self._obey(service)

    def sample(self, device: DeviceId) -> Sample:
        """Read memory; every reading takes a moment."""
        self.clock.advance(0.000_01)
        moment = {"device": device, "seconds": self.clock.now_seconds, "unix_seconds": self.unix_clock()}
        if self.memory.failure:
            return SampleFailed(**moment, reason=self.memory.failure, lost=self.memory.lost)
        return MemorySample(**moment, total_bytes=self.memory.total_bytes, free_bytes=self.free_bytes)

    def processes(self, device: DeviceId) -> tuple[ProcessUse, ...]:
        """Return who uses a device: others are one process."""
        del device
        return (ProcessUse(process=1, used_bytes=self.memory.used_bytes),)

    def events(self) -> tuple[GpuEvent, ...]:
        """Return nothing: nothing happens to a device here."""
        return ()

    def scan(self) -> None:
        """Look for services; they are where they were put."""

    def views(self) -> tuple[LinkView, ...]:
        """Return what a link would know of each service that is up."""
        return tuple(self._view(service) for service in self.found.values() if service.up)

    def post(self, service: ServiceName, directive: Directive | None) -> None:
        """Take a directive as the protocol says: versions rise, and one version says one thing."""
        world = self.found[service]
        if directive is None:
            world.placements = ()
            return
        known = {status.module for status in world.modules.values()}
        unknown = [placement.module for placement in directive.wish.placements if placement.module not in known]
        assert directive.version >= world.version
        if world.directives and directive.version == world.directives[-1].version:
            assert directive.wish == world.directives[-1].wish
            return
        world.directives.append(directive)
        world.version = directive.version
        if world.refuses or unknown:
            reason = f"unknown modules {unknown}" if unknown else "told to refuse"
            world.refusal = Refusal(version=directive.version, reason=reason)
            self._say(f"{service} refuses directive {directive.version}: {reason}")
            return
        if directive.wish.budget_bytes != world.budget_bytes:
            budget_bytes = directive.wish.budget_bytes
            self._say(f"{service}: budget {'of its own' if budget_bytes is None else size_text(budget_bytes)}")
        world.placements, world.budget_bytes = directive.wish.placements, directive.wish.budget_bytes

    def trim(self, service: ServiceName, number: int) -> None:
        """Give back what an allocator keeps, but for what shares blocks with memory in use; each number comes once."""
        world = self.found[service]
        assert world.trimmed is None or number > world.trimmed.number
        released_bytes = max(0, world.kept_bytes - world.stuck_bytes)
        world.kept_bytes -= released_bytes
        world.trimmed = TrimAnswer(number=number, released_bytes=released_bytes, left_bytes=world.kept_bytes)
        self._say(f"{service}: {size_text(released_bytes)} of its allocator's given back")

    def add(self, service: WorldService) -> None:
        """Start a service."""
        self.found[service.name] = service

    def restart(self, service: WorldService) -> None:
        """Start a service anew: everything is home, counters begin at 0, and nobody's word is in force."""
        modules = {
            name: ModuleStatus(module=name, home=status.home, tier=status.home, home_bytes=status.home_bytes)
            for name, status in service.modules.items()
        }
        fresh = WorldService(name=service.name, device=service.device, modules=modules)
        self.found[service.name] = replace(fresh, instance=service.instance + 1)

    def use(self, service: WorldService, name: ModuleName, times: int = 1) -> None:
        """Let requests use a module: it comes home if it must; one that the budget does not hold is not served."""
        if not service.modules[name].at_home and not self._make_room(service, name):
            self._say(f"{service.name}: no room for {name}")
            return
        status = service.modules[name]
        if not status.at_home:
            status = self._moved(service, status, status.home, Authority.DEMAND)
        service.modules[name] = replace(
            status, uses=status.uses + times, last_use_unix_seconds=self.unix_clock(), restore_seconds=0.02
        )

    def claim(self, service: WorldService, name: ModuleName, *, claims: int, leases: int = 0) -> None:
        """Let open utterances have an interest in a module, and steps use it."""
        service.modules[name] = replace(service.modules[name], claims=claims, leases=leases)

    def _obey(self, service: WorldService) -> None:
        for placement in service.placements:
            status = service.modules[placement.module]
            if status.tier != placement.tier and not self._held_by(status, placement):
                service.modules[status.module] = self._moved(service, status, placement.tier, Authority.DIRECTIVE)

    def _make_room(self, service: WorldService, name: ModuleName) -> bool:
        """Have others leave so far that the budget holds a module too; tells whether it does."""
        budget_bytes, size_bytes = service.budget_bytes, service.modules[name].home_bytes
        if budget_bytes is None:
            return True
        if size_bytes + sum(each.home_bytes for each in service.modules.values() if each.pinned) > budget_bytes:
            return False
        self._shrink(service, budget_bytes - size_bytes)
        return service.module_bytes + size_bytes <= budget_bytes

    def _shrink(self, service: WorldService, budget_bytes: int) -> None:
        """Have modules leave until the budget holds the rest: the coldest first, claimed ones last, no leased ones."""
        movable = [each for each in service.modules.values() if each.at_home and not each.pinned and not each.leases]
        for status in sorted(movable, key=lambda each: (each.claims > 0, each.last_use_unix_seconds or 0.0)):
            if service.module_bytes > budget_bytes:
                service.modules[status.module] = self._moved(service, status, status.away, Authority.DEMAND)

    def _held_by(self, status: ModuleStatus, placement: Placement) -> str:
        if placement.tier <= status.home:
            return ""
        if status.leases:
            return "leased"
        return "claimed" if status.claims and placement.urgency is Urgency.WHEN_UNCLAIMED else ""

    def _moved(self, service: WorldService, status: ModuleStatus, tier: Tier, authority: Authority) -> ModuleStatus:
        self._say(f"{service.name}: {status.module} {status.tier.name} -> {tier.name} ({authority.value})")
        home = tier <= status.home
        service.released_bytes += 0 if home else status.home_bytes
        moved = replace(
            status,
            tier=tier,
            authority=authority,
            restores=status.restores + home,
            evictions=status.evictions + (not home),
        )
        service.modules[status.module] = moved
        return moved

    def _view(self, service: WorldService) -> LinkView:
        pending = [
            PendingMove(module=placement.module, tier=placement.tier, reason=reason)
            for placement in service.placements
            if (status := service.modules[placement.module]).tier != placement.tier
            if (reason := self._held_by(status, placement))
        ]
        report = ResidencyReport(
            unix_seconds=self.unix_clock(),
            modules=tuple(_with_host_bytes(status) for status in service.modules.values()),
            pending_moves=tuple(pending),
            released_bytes=service.released_bytes,
            accepted_version=service.version,
            epoch=service.epoch,
            usage=self._usage(service),
            largest_step_bytes=service.largest_step_bytes,
        )
        return LinkView(
            socket=Path(f"{service.name}.sock"),
            service=service.name,
            state=LinkState.GOVERNING,
            reason="",
            instance_id=f"instance-{service.instance}",
            epoch=service.epoch,
            device=service.device,
            report=report,
            refusal=service.refusal,
            trimmed=service.trimmed,
        )

    def _usage(self, service: WorldService) -> DeviceUsage | None:
        if service.device.tier is not Tier.DEVICE:
            return None
        allocated_bytes = service.held_bytes - service.kept_bytes
        return DeviceUsage(reserved_bytes=service.held_bytes, allocated_bytes=allocated_bytes)

    def _say_pressure(self) -> None:
        for device in self.board.status.devices:
            if device.pressure.value != self._pressure:
                self._pressure = device.pressure.value
                self._say(f"pressure {self._pressure}")

    def _say_decisions(self) -> None:
        decisions = self.board.status.decisions
        fresh = [one for one in decisions if not any(one is known for known in self._seen_decisions)]
        self._seen_decisions = decisions
        for decided in reversed(fresh):
            moves = [f"-{module}" for module in decided.evict] + [f"+{module}" for module in decided.restore]
            moves += [f"{module}>disk" for module in decided.to_disk] + [f"{module}>host" for module in decided.to_host]
            asked = "trim" if decided.trim else f"directive {decided.version}"
            head = f"{asked} to {decided.service}" if decided.service else "note"
            self._say(f"{head}{' '.join(['', *moves])}: {decided.reason}")

    def _say(self, words: str) -> None:
        self.log.append(f"t={self.seconds:.2f} {words}")


def _with_host_bytes(status: ModuleStatus) -> ModuleStatus:
    """Return a module as its service reports it: a device's keeps its weights in host memory until it is on disk."""
    if status.home is not Tier.DEVICE or status.tier is Tier.DISK:
        return status
    return replace(status, held=(TierBytes(tier=Tier.HOST, size_bytes=status.home_bytes),))
