"""A service as a policy meets it, in simulated time: what it does when it is told something, and when it is asked.

It does what a real one does: restores take time, one after the other; what a step leases stays; what an utterance
claims stays unless it is urgent; a pinned module stays; a request brings back what it needs whatever a directive says,
within the budget: others make room, and what does not fit together comes in turns, one after the other. A directive is
a level: what it wants away leaves again as soon as it may. It knows no clock: time is an argument.
"""

from collections.abc import Iterable, Mapping

from memory_daemon.simulation_module import (
    STEP_SECONDS,
    UTTERANCE_SECONDS,
    Moved,
    SimulatedModule,
    module_of,
    status_of,
)
from memory_daemon.simulation_trace import ServiceCame
from memory_daemon.types import Authority, ModuleName, Placement, ResidencyReport, Tier, Urgency, Wish
from memory_daemon.usage import DeviceUsage, TrimAnswer


class SimulatedService:
    """One instance of a service."""

    def __init__(self, came: ServiceCame) -> None:
        self.service = came.service
        self.instance_id = came.instance_id
        self.wish = Wish()
        self.moved: list[Moved] = []
        self.shifts = 0
        self.kept_bytes = 0
        self.trimmed: TrimAnswer | None = None
        self._released_bytes = 0
        self._waits = 0
        self._wait_seconds = 0.0
        self._line_seconds = 0.0
        self._largest_step_bytes = came.largest_step_bytes
        self._modules = {status.module: module_of(status, came) for status in came.modules}

    def __repr__(self) -> str:
        tiers = " ".join(f"{one.module}={one.tier.name.lower()}" for one in self._modules.values())
        return f"<SimulatedService {self.service} {tiers}>"

    @property
    def held_bytes(self) -> int:
        """What its modules take at home."""
        return sum(module.held_bytes for module in self._modules.values())

    @property
    def device_bytes(self) -> int:
        """What it takes of the device: its modules, and what its allocator keeps without using it."""
        return self.held_bytes + self.kept_bytes

    @property
    def host_bytes(self) -> int:
        """What its modules' masters take of host memory beside a GPU."""
        return sum(module.host_bytes for module in self._modules.values())

    @property
    def tier(self) -> Tier:
        """The tier that most of it computes in."""
        return min((module.home for module in self._modules.values()), default=Tier.HOST)

    def next_change_seconds(self, now_seconds: float) -> float | None:
        """Return when something ends by itself: a restore, or a claim that keeps what should leave."""
        ends = [module.ready_seconds for module in self._modules.values() if module.ready_seconds is not None]
        for placement in self.wish.placements:
            module = self._modules.get(placement.module)
            if module is not None and self._is_kept(module, placement, now_seconds):
                last_seconds = module.last_use_seconds or 0.0
                ends += [last_seconds + span for span in (STEP_SECONDS, UTTERANCE_SECONDS)]
        return min((seconds for seconds in ends if seconds > now_seconds), default=None)

    def settle(self, now_seconds: float) -> bool:
        """End restores that are due; tells whether any was."""
        due = [
            one for one in self._modules.values() if one.ready_seconds is not None and one.ready_seconds <= now_seconds
        ]
        for module in due:
            module.tier, module.ready_seconds, module.measured = module.home, None, True
            module.restores += 1
        return bool(due)

    def obey(self, free_bytes: int, now_seconds: float) -> None:
        """Do what the directive in force wants and may be done now; `free_bytes` is the device's."""
        for placement in self.wish.placements:
            module = self._modules.get(placement.module)
            if module is None:
                continue
            if placement.tier > module.home and module.held_bytes and not self._keeps(module, placement, now_seconds):
                free_bytes += self._evict(module, placement.tier, Authority.DIRECTIVE)
            elif placement.tier <= module.home and not module.held_bytes and module.home_bytes <= free_bytes:
                free_bytes -= self._restore(module, Authority.DIRECTIVE, now_seconds)
            elif module.shifts_to(placement.tier):
                module.tier, module.authority = placement.tier, Authority.DIRECTIVE
                self.shifts += 1
        self._keep_budget(now_seconds)

    def ask(self, uses: Mapping[ModuleName, int], free_bytes: int, now_seconds: float) -> float | None:
        """Use modules, and return how long that has to wait for restores; None if there is no room for them now."""
        wanted = [self._modules[name] for name in uses if name in self._modules]
        turns = self._turns(wanted)
        last = turns[-1] if turns else []
        missing = [module for module in last if not module.held_bytes]
        if any(not self._fits(turn) for turn in turns) or not self._fits_in_steps(wanted):
            return None
        if any(not self._has_room(turn, free_bytes, now_seconds) for turn in turns[:-1]):
            return None
        need_bytes = sum(module.home_bytes for module in missing) - free_bytes
        need_bytes -= self._use_kept(need_bytes)
        if need_bytes > 0 and not self._make_room(need_bytes, wanted, now_seconds):
            return None
        passed_seconds = [self._pass(module, now_seconds) for module in wanted if module not in last]
        self._keep_budget(now_seconds, beside=last)
        for module in missing:
            self._restore(module, Authority.DEMAND, now_seconds)
        ends_seconds = max([now_seconds, *passed_seconds, *(module.ready_seconds or 0.0 for module in last)])
        for module in wanted:
            module.uses += uses[module.module]
            module.last_use_seconds = ends_seconds
        return ends_seconds - now_seconds

    def claim(self, claims: Mapping[ModuleName, int]) -> None:
        """Take over by how many open utterances each module is claimed; those that are not named, by none."""
        for name, module in self._modules.items():
            module.claims = claims.get(name, 0)

    def keep(self, change_bytes: int) -> None:
        """Let the allocator keep so much more, or less."""
        self.kept_bytes = max(0, self.kept_bytes + change_bytes)

    def trim(self, number: int) -> None:
        """Give back what the allocator keeps, and answer under that number."""
        self.trimmed = TrimAnswer(number=number, released_bytes=self.kept_bytes, left_bytes=0)
        self.kept_bytes = 0

    def wait(self, seconds: float) -> None:
        """Count a request that had to wait so long."""
        self._waits += 1
        self._wait_seconds += seconds

    def report(self, now_seconds: float, unix_seconds: float) -> ResidencyReport:
        """Return what it would report now."""
        return ResidencyReport(
            unix_seconds=unix_seconds,
            modules=tuple(status_of(one, now_seconds, unix_seconds) for one in self._modules.values()),
            budget_bytes=self.wish.budget_bytes,
            home_bytes=self.held_bytes,
            released_bytes=self._released_bytes,
            restore_waits=self._waits,
            largest_step_bytes=self._largest_step_bytes,
            restore_wait_seconds=self._wait_seconds,
            usage=DeviceUsage(reserved_bytes=self.device_bytes, allocated_bytes=self.held_bytes)
            if self.tier is Tier.DEVICE
            else None,
        )

    def _use_kept(self, need_bytes: int) -> int:
        """Give back what the allocator keeps, as far as a restore needs it; returns how much that was."""
        used_bytes = max(0, min(self.kept_bytes, need_bytes))
        self.kept_bytes -= used_bytes
        return used_bytes

    def _is_kept(self, module: SimulatedModule, placement: Placement, now_seconds: float) -> bool:
        return placement.tier > module.home and module.held_bytes > 0 and self._keeps(module, placement, now_seconds)

    def _keeps(self, module: SimulatedModule, placement: Placement, now_seconds: float) -> bool:
        claimed = placement.urgency is Urgency.WHEN_UNCLAIMED and module.claimed(now_seconds)
        return module.pinned or module.leased(now_seconds) or claimed

    def _evict(self, module: SimulatedModule, tier: Tier, authority: Authority) -> int:
        module.tier, module.authority = tier, authority
        module.evictions += 1
        self._released_bytes += module.home_bytes
        self.moved.append(Moved(module=module.module, home=False, authority=authority))
        return module.home_bytes

    def _restore(self, module: SimulatedModule, authority: Authority, now_seconds: float) -> int:
        """Begin a restore; they share one line to the device."""
        self._line_seconds = max(self._line_seconds, now_seconds) + module.way_home_seconds
        module.ready_seconds, module.authority = self._line_seconds, authority
        self.moved.append(Moved(module=module.module, home=True, authority=authority))
        return module.home_bytes

    def _make_room(self, need_bytes: int, wanted: Iterable[SimulatedModule], now_seconds: float) -> bool:
        """Send its own colder modules away for a request, coldest first; all or none."""
        needed = {module.module for module in wanted}
        idle = [module for module in self._may_leave(now_seconds) if module.module not in needed]
        if sum(module.home_bytes for module in idle) < need_bytes:
            return False
        for module in idle:
            if need_bytes > 0:
                need_bytes -= self._evict(module, Tier(min(module.home + 1, Tier.DISK)), Authority.DEFAULT)
        return True

    def _turns(self, wanted: Iterable[SimulatedModule]) -> list[list[SimulatedModule]]:
        """Cut modules into groups that the budget holds, the last the largest that can be."""
        turns: list[list[SimulatedModule]] = []
        for module in reversed(list(wanted)):
            if turns and self._fits([module, *turns[0]]):
                turns[0].insert(0, module)
            else:
                turns.insert(0, [module])
        return turns

    def _fits(self, modules: Iterable[SimulatedModule]) -> bool:
        budget_bytes = self.wish.budget_bytes
        needed = {one.module: one for one in (*modules, *(each for each in self._modules.values() if each.pinned))}
        return budget_bytes is None or sum(module.home_bytes for module in needed.values()) <= budget_bytes

    def _has_room(self, turn: Iterable[SimulatedModule], free_bytes: int, now_seconds: float) -> bool:
        """Tell whether a turn that ends before the last one finds memory, once all that may leave has left for it."""
        names = {module.module for module in turn}
        spare_bytes = sum(
            one.held_bytes for one in self._may_leave(now_seconds, claimed=True) if one.module not in names
        )
        missing_bytes = sum(module.home_bytes for module in turn if not module.held_bytes)
        return missing_bytes <= free_bytes + self.kept_bytes + spare_bytes

    def _fits_in_steps(self, wanted: Iterable[SimulatedModule]) -> bool:
        """Tell whether the budget holds the largest step, if the call makes it: one that weighs less cannot."""
        budget_bytes, step_bytes = self.wish.budget_bytes, self._largest_step_bytes
        makes_it = sum(module.home_bytes for module in wanted) >= step_bytes
        return budget_bytes is None or budget_bytes >= step_bytes or not makes_it

    def _pass(self, module: SimulatedModule, now_seconds: float) -> float:
        """Let a module have its turn, and make room for the next one; returns when it had come home."""
        ready_seconds = module.ready_seconds or now_seconds
        if not module.held_bytes:
            ready_seconds = self._line_seconds = max(self._line_seconds, now_seconds) + module.way_home_seconds
            self.moved.append(Moved(module=module.module, home=True, authority=Authority.DEMAND))
            module.restores += 1
        module.ready_seconds = None
        self._evict(module, Tier(min(module.home + 1, Tier.DISK)), Authority.DEFAULT)
        return ready_seconds

    def _keep_budget(self, now_seconds: float, beside: Iterable[SimulatedModule] = ()) -> None:
        """Send away what the budget does not hold beside what a request needs: colder first, claimed ones last."""
        budget_bytes = self.wish.budget_bytes
        if budget_bytes is None:
            return
        needed = {module.module: module for module in beside}
        need_bytes = sum(module.home_bytes for module in needed.values() if not module.held_bytes)
        for module in self._may_leave(now_seconds, claimed=True):
            if self.held_bytes + need_bytes > budget_bytes and module.module not in needed:
                self._evict(module, Tier(min(module.home + 1, Tier.DISK)), Authority.DEFAULT)

    def _may_leave(self, now_seconds: float, *, claimed: bool = False) -> list[SimulatedModule]:
        found = [
            module
            for module in self._modules.values()
            if module.held_bytes and not module.pinned and not module.leased(now_seconds)
            if claimed or not module.claimed(now_seconds)
        ]
        return sorted(found, key=lambda module: (module.claimed(now_seconds), module.last_use_seconds or 0.0))
