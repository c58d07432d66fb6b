"""Lends modules to those who compute and moves them for those who govern.

One lock guards the register. Every change ends in a decision: what may be leased now is granted under the lock, what
is to move becomes work for one thread, and whoever must be told is told without the lock. Moves are made without the
lock too, one at a time, so that their bytes can be measured.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from tts_service.models.module_spec import ModuleSpec
from tts_service.residency import reports
from tts_service.residency.claims import Claim
from tts_service.residency.growth import RoomWantedError
from tts_service.residency.guard import Guard, Listener
from tts_service.residency.history import MemoryReport
from tts_service.residency.housekeeper import NO_RESOURCES, Housekeeper, Resources
from tts_service.residency.kept_room import KeptRoom
from tts_service.residency.lending import Lending
from tts_service.residency.module_account import ModuleAccount
from tts_service.residency.move_notes import OnMove
from tts_service.residency.move_worker import MoveWorker
from tts_service.residency.mover import Mover
from tts_service.residency.register import Register
from tts_service.residency.resting import first_residences
from tts_service.residency.room import Room
from tts_service.residency.situation import Situation, home_bytes, residence_of, where
from tts_service.residency.trimming import TrimReport
from tts_service.residency.types import Directive, ModuleState, ModuleStatus, ResidencyReport, Tier
from tts_service.residency.upkeep import NO_UPKEEP, Upkeep
from tts_service.residency.waiting import Waiter, overdue_error, served
from tts_service.residency.wishes import Wishes, check_directive, check_module, check_pins, check_tier, with_placed
from tts_service.residency.wishes import budget_bytes as budget_in_force
from tts_service.types import ModuleName


class ResidencyManager:
    """Every module of the service: where it is, who uses it, and what is wanted of it. Thread-safe and synchronous.

    `tiers` are the machine's, home first: HOST and DISK, or DEVICE, HOST and DISK with a mover that has a device.
    `budget_bytes` bounds what modules hold at home; `pinned_modules` never leave; `rest_tiers` say where some rest. See
    `Wishes` for `linger_seconds` and `stay_seconds`, `Housekeeper` for `upkeep` and `resources`.
    `restore_timeout_seconds` bounds `prepare`. `steps` are what speech needs at once, for the report.
    """

    def __init__(
        self,
        specs: Collection[ModuleSpec],
        *,
        mover: Mover,
        tiers: tuple[Tier, ...] = (Tier.HOST, Tier.DISK),
        budget_bytes: int | None = None,
        pinned_modules: Collection[ModuleName] = (),
        rest_tiers: Mapping[ModuleName, Tier] | None = None,
        linger_seconds: float = 60.0,
        stay_seconds: float = 5.0,
        restore_timeout_seconds: float = 30.0,
        upkeep: Upkeep = NO_UPKEEP,
        resources: Resources = NO_RESOURCES,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        on_move: OnMove = lambda _move, _bytes, _seconds: None,
        steps: Sequence[frozenset[ModuleName]] = (),
    ) -> None:
        self.modules = tuple(spec.name for spec in specs)
        self._names = frozenset(self.modules)
        assert (tiers[0] is Tier.DEVICE) == (mover.device is not None), "a home on a device takes a mover to it"
        check_pins(pinned_modules, self.modules)
        wishes = Wishes(
            static_budget_bytes=budget_bytes,
            pins=frozenset(pinned_modules),
            linger_seconds=linger_seconds,
            stay_seconds=stay_seconds,
        )
        residences = first_residences(specs, tiers=tiers, rest_tiers=rest_tiers or {})
        register = Register(Situation(home=tiers[0], away=tiers[1], residences=residences, wishes=wishes))
        self._tiers = tiers
        self._mover = mover
        self._wall_clock = wall_clock
        self._steps = tuple(steps)
        self._restore_timeout_seconds = restore_timeout_seconds
        self._guard = Guard(register, clock=clock)
        self.room = Room(self._guard)
        self._housekeeper = Housekeeper(upkeep, resources, guard=self._guard, mover=mover)
        self._worker = MoveWorker(
            {spec.name: spec for spec in specs},
            guard=self._guard,
            mover=mover,
            housekeeper=self._housekeeper,
            wall_clock=wall_clock,
            on_move=on_move,
        )
        self._lending = Lending(self._worker.store, mover=mover, guard=self._guard)
        self._this_thread = threading.local()
        self._served = served()

    def __repr__(self) -> str:
        with self._guard.reading() as register:
            situation = register.situation
            held = sum(situation.leases.held.values())
            budget = budget_in_force(situation.wishes)
        tiers = " ".join(f"{each.module}={where(each)}" for each in situation.residences)
        bound = "" if budget is None else f" of {budget >> 20}"
        return f"<Residency {tiers} | {held} leases | {home_bytes(situation) >> 20}{bound} MiB>"

    def load(self) -> None:
        """Load and measure every module once, in this thread. Raises StartupError."""
        self._worker.load_all()

    def start(self) -> None:
        """Load every module, then start the thread that moves them. Raises StartupError."""
        self.load()
        self._worker.start()

    def close(self) -> None:
        """Refuse all who wait and stop moving; modules stay where they are."""
        self._worker.close()
        with self._guard.changing() as register:
            register.close()

    @contextmanager
    def lease(
        self, modules: Collection[ModuleName], *, timeout_seconds: float
    ) -> Iterator[Mapping[ModuleName, object]]:
        """Borrow modules for one step, all at once; what is away comes home first, while nothing is held.

        The mapping is emptied when the lease ends, so that no reference outlives it. What this thread has asked of the
        device on its current stream may go on: modules stay until it is done. Work on other streams must be joined to
        that stream before. Raises ServiceError DEVICE_MEMORY or ENGINE_FAULT if the modules cannot be had in time, or
        not at all.
        """
        wanted = self._known(modules)
        assert not getattr(self._this_thread, "leases", False), "a step takes one lease, with all its modules"
        self._acquire(wanted, timeout_seconds)
        self._this_thread.leases = True
        try:
            with self._lending.lent(wanted) as lent:
                yield lent
        finally:
            self._this_thread.leases = False
            self._end(wanted)

    def prepare(self, modules: Collection[ModuleName]) -> Future[None]:
        """Have modules brought home; the result comes when all are there at one moment, or fails as a lease would.

        Cancelling it ends the wish, not a restore that has begun.
        """
        wanted = self._known(modules)
        with self._guard.reading() as register:
            waits = not (register.opened and wanted <= register.decision.ready)
        if not waits:
            return self._served
        waiter = self._wait(wanted, holds=False, timeout_seconds=self._restore_timeout_seconds)
        waiter.future.add_done_callback(lambda future: self._withdraw(waiter) if future.cancelled() else None)
        return waiter.future

    def make_room(self, wanted: RoomWantedError) -> KeptRoom:
        """Let idle modules leave for what a module wants to grow by, and keep that room until it is released.

        Raises what was wanted if not even that would make enough.
        """
        return KeptRoom(self._guard, wanted, timeout_seconds=self._restore_timeout_seconds)

    def claim(self, modules: Collection[ModuleName]) -> Claim:
        """Note an open utterance's interest: its modules leave only in need."""
        return Claim(self._guard, self._known(modules))

    def account(self, module: ModuleName) -> ModuleAccount:
        """Return where a scratch module's growth is booked."""
        (known,) = self._known({module})
        return ModuleAccount(self._guard, known)

    def away(self, modules: Collection[ModuleName]) -> tuple[ModuleName, ...]:
        """Return those of the modules that are not ready to be leased."""
        with self._guard.reading() as register:
            ready = register.decision.ready
        return () if ready.issuperset(modules) else tuple(module for module in modules if module not in ready)

    def expected_restore_seconds(self, modules: Collection[ModuleName]) -> float | None:
        """Return how long restoring these modules takes, one after the other; None before each has been measured."""
        with self._guard.reading() as register:
            seconds = [register.restore_seconds(module) for module in modules]
        return sum(each for each in seconds if each is not None) if None not in seconds else None

    def set_directive(self, directive: Directive | None) -> tuple[ModuleName, ...]:
        """Put a directive in force as a whole, None for the default placement; what cannot be done yet follows later.

        A directive ends what `place` asked for; returns those modules. Raises CallerError MODULE_NOT_FOUND or
        BAD_CONFIG, and then changes nothing.
        """
        if directive is not None:
            check_directive(directive, modules=self.modules, tiers=self._tiers)
        with self._guard.changing() as register:
            return register.direct(directive)

    def place(self, module: ModuleName, tier: Tier | None, *, timeout_seconds: float) -> tuple[ModuleStatus, str]:
        """Put an operator's wish in force until it is changed or a directive comes; None releases the module.

        Waits until it is done, cannot be done yet, or takes too long, and returns why it is not; empty if it is.
        Raises CallerError MODULE_NOT_FOUND, BAD_CONFIG, or GOVERNED while a directive is in force.
        """
        check_module("module", module, self.modules)
        if tier is not None:
            check_tier("tier", tier, self._tiers)
        with self._guard.changing() as register:
            register.wish(with_placed(register.situation.wishes, module, tier))
            broken = residence_of(register.situation, module).state is ModuleState.BROKEN
        if broken and tier not in (None, self._tiers[-1]):
            self.prepare({module})
        with self._guard.reading() as register:
            self._guard.changed.wait_for(lambda: not register.goes_on(module, tier), timeout_seconds)
            return reports.status(register, module, self._moment(memory=False)), register.obstacle(module, tier)

    def trim(self, *, modules: bool, timeout_seconds: float) -> TrimReport:
        """Give back what nobody misses, with idle modules if they are asked for. Raises ServiceError DRAINING."""
        return self._housekeeper.trim(modules=modules, timeout_seconds=timeout_seconds)

    def broken_modules(self) -> tuple[ModuleName, ...]:
        """Return what could not be brought back or was lost; takes microseconds, where a report reads memory."""
        with self._guard.reading() as register:
            residences = register.situation.residences
        return tuple(each.module for each in residences if each.state is ModuleState.BROKEN)

    def report(self, *, closely: bool = False) -> ResidencyReport:
        """Say what is, with epoch 0 and no holder: those are the governor's. `closely` takes milliseconds."""
        moment = self._moment(closely=closely)
        with self._guard.reading() as register:
            return reports.report(register, moment, steps=self._steps)

    def memory_report(self, max_samples: int) -> MemoryReport:
        """Say how memory was used, with at most so many of the newest samples."""
        moment = self._moment()
        with self._guard.reading() as register:
            modules = reports.statuses(register, moment)
            return self._worker.history.report(modules, register.tally, max_samples=max_samples)

    def subscribe(self, callback: Listener) -> Callable[[], None]:
        """Call back after every change, from any thread and without a lock; the result ends that. Must be quick."""
        return self._guard.subscribe(callback)

    def set_activity(self, *, sessions: int, queued: int) -> None:
        """Note what reports say about speech."""
        with self._guard.changing() as register:
            register.sessions = sessions
            register.queued_utterances = queued

    def make_moves(self) -> int:
        """Make the moves that are due, in this thread: for a manager that was loaded but not started."""
        self._worker.tick()
        return self._worker.make_moves()

    def _known(self, modules: Collection[ModuleName]) -> frozenset[ModuleName]:
        wanted = frozenset(modules)
        assert wanted, "nothing is wanted"
        assert wanted <= self._names, f"there are no such modules: {wanted - self._names}"
        return wanted

    def _acquire(self, wanted: frozenset[ModuleName], timeout_seconds: float) -> None:
        with self._guard.reading() as register:
            if register.lend(wanted, now_seconds=self._guard.clock()):
                return
        waiter = self._wait(wanted, holds=True, timeout_seconds=timeout_seconds)
        try:
            waiter.future.result(timeout_seconds)
        except TimeoutError:
            self._give_up(waiter)

    def _give_up(self, waiter: Waiter) -> None:
        """End a wait whose time is up; if it was served or refused at the last moment, that counts."""
        with self._guard.reading() as register:
            error = overdue_error(waiter, register.decision)
        if self._withdraw(waiter):
            raise error
        waiter.future.result()

    def _wait(self, wanted: frozenset[ModuleName], *, holds: bool, timeout_seconds: float) -> Waiter:
        with self._guard.changing() as register:
            return register.wait(wanted, holds=holds, now_seconds=self._guard.clock(), timeout_seconds=timeout_seconds)

    def _withdraw(self, waiter: Waiter) -> bool:
        with self._guard.changing() as register:
            return register.withdraw(waiter)

    def _end(self, wanted: frozenset[ModuleName]) -> None:
        with self._guard.reading() as register:
            restless = register.give_back(wanted)
        if restless:
            with self._guard.changing():
                pass

    def _moment(self, *, memory: bool = True, closely: bool = False) -> reports.Moment:
        return reports.Moment(
            now_seconds=self._guard.clock(),
            unix_seconds=self._wall_clock(),
            process_bytes=self._mover.process_bytes() if memory else 0,
            device=self._mover.device_usage(closely=closely) if memory else None,
        )
