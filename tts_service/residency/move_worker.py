"""Makes the moves that the register has queued, one at a time, and samples memory between them."""

import threading
from collections.abc import Callable, Mapping
from itertools import takewhile

import structlog

from tts_service.errors import StartupError
from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.guard import Guard
from tts_service.residency.history import MemoryHistory
from tts_service.residency.housekeeper import Housekeeper
from tts_service.residency.memory_sampler import MemorySampler
from tts_service.residency.module_store import Brought, ModuleStore
from tts_service.residency.move_notes import MoveNotes, OnMove
from tts_service.residency.move_sequel import MoveSequel
from tts_service.residency.mover import Mover, RestoreFailedError
from tts_service.residency.situation import (
    Move,
    Residence,
    away_from_home,
    fits_beside,
    residence_of,
    rest_of,
)
from tts_service.residency.types import Authority, ModuleState, Tier
from tts_service.residency.wishes import budget_bytes, pinned, wish_for
from tts_service.types import ModuleName

REST_SECONDS = 1.0
"""Rest after an error that should not be, so that it does not fill the log."""

_log = structlog.get_logger(__name__)


class MoveWorker:
    """One thread that moves modules, and one that keeps time, so that no deadline waits for a move that hangs.

    `store` holds the modules that are in memory. `housekeeper` looks after what is to be given back besides.
    """

    def __init__(
        self,
        specs: Mapping[ModuleName, ModuleSpec],
        *,
        guard: Guard,
        mover: Mover,
        housekeeper: Housekeeper,
        wall_clock: Callable[[], float],
        on_move: OnMove = lambda _move, _bytes, _seconds: None,
    ) -> None:
        self.store = ModuleStore(mover)
        self.history = MemoryHistory(keeps=housekeeper.keeps_history)
        self._housekeeper = housekeeper
        self._specs = specs
        self._guard = guard
        self._mover = mover
        self._notes = MoveNotes(on_move)
        self._sequel = MoveSequel(
            guard=guard,
            sampler=MemorySampler(self.history, guard=guard, mover=mover, wall_clock=wall_clock),
            notes=self._notes,
            housekeeper=housekeeper,
        )
        self._begun: set[ModuleName] = set()
        self._threads: tuple[threading.Thread, ...] = ()
        self._closing = False

    def __repr__(self) -> str:
        life = "works" if any(thread.is_alive() for thread in self._threads) else "rests"
        return f"<MoveWorker {life} | {len(self.store.objects)} of {len(self._specs)} modules in memory>"

    def start(self) -> None:
        """Begin to make moves."""
        assert not self._threads
        self._threads = (
            threading.Thread(target=self._work, name="residency moves", daemon=True),
            threading.Thread(target=self._keep_time, name="residency time", daemon=True),
        )
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End after the move that is being made."""
        with self._guard.changed:
            self._closing = True
            self._guard.changed.notify_all()
            self._guard.queued.notify_all()
            self._guard.rescheduled.notify_all()
        for thread in self._threads:
            thread.join()
        self._housekeeper.close()

    def load_all(self) -> None:
        """Load every module once, pinned ones first, and keep those at home that rest there and fit.

        Shows at the start that all can be loaded, and what they hold. Raises StartupError.
        """
        with self._guard.reading() as register:
            kept = pinned(register.situation.wishes, home=register.situation.home)
        for spec in sorted(self._specs.values(), key=lambda each: each.name not in kept):
            self._load_first(spec, pinned=spec.name in kept)
            self._sequel.loaded()
        with self._guard.changing() as register:
            register.opened = True

    def make_moves(self) -> int:
        """Make the moves that are queued, and do chores; returns how many moves there were."""
        made = self._make_queued_moves()
        while self._housekeeper.has_chores and not self._closing:
            self._housekeeper.do_chores()
            made += self._make_queued_moves()
        return made

    def tick(self) -> None:
        """Decide again if time alone has changed something, and sample memory once in a while."""
        with self._guard.reading() as register:
            due_seconds = register.next_seconds()
        if due_seconds is not None and due_seconds <= self._guard.clock():
            with self._guard.changing():
                pass
        self._sequel.tick()

    def _make_queued_moves(self) -> int:
        """Make all moves that are queued; what is to be told of them, and samples, come when none is left."""
        made = 0
        while (due := self._next_move()) is not None:
            self._sequel.before(is_long=Tier.DISK in (due[0].source, due[0].target), is_first=not made)
            self._make(*due)
            made += 1
        if made:
            self._sequel.after()
        return made

    def _work(self) -> None:
        while self._wait_for_work():
            self._outlive(self.make_moves)

    def _keep_time(self) -> None:
        while self._wait_for_time():
            self._outlive(self.tick)

    def _outlive(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception:  # noqa: BLE001 - the thread must outlive it, and nobody else would hear of it.
            _log.exception("residency_worker_failed")
            with self._guard.changed:
                self._guard.changed.wait_for(lambda: self._closing, REST_SECONDS)

    def _wait_for_work(self) -> bool:
        """Wait until there is something to move; False when it is time to go."""
        with self._guard.reading() as register:
            self._guard.queued.wait_for(lambda: self._closing or register.jobs or self._housekeeper.has_chores)
            return not self._closing

    def _wait_for_time(self) -> bool:
        """Wait until time alone changes something or a sample is due; False when it is time to go."""
        with self._guard.reading() as register:
            while not self._closing:
                rest_seconds = self._sequel.wake_seconds(register.next_seconds()) - self._guard.clock()
                if rest_seconds <= 0:
                    return True
                self._guard.rescheduled.wait(rest_seconds)
            return False

    def _next_move(self) -> tuple[Move, Residence] | None:
        with self._guard.reading() as register:
            if self._closing or not register.jobs:
                return None
            move = register.jobs.popleft()
            self._begun.discard(move.module)
            return move, residence_of(register.situation, move.module)

    def _make(self, move: Move, residence: Residence) -> None:
        if move.target < move.source:
            self._bring(move, residence)
        else:
            self._take_away(move, residence)

    def _bring(self, move: Move, residence: Residence) -> None:
        try:
            brought = self.store.bring(self._specs[move.module], move, residence, meanwhile=self._begin_next)
        except MemoryError:
            self._fell_short(move, residence)
        except RestoreFailedError:
            _log.exception("module_broken", module=move.module, authority=move.authority.value)
            self._broke_down(move.module)
        else:
            self._came(move, brought)

    def _begin_next(self) -> None:
        """Begin the restores that follow next, so that the bus does not wait for what is said between two of them."""
        with self._guard.reading() as register:
            following = () if self._closing else tuple(register.jobs)
        for move in takewhile(lambda each: (each.source, each.target) == (Tier.HOST, Tier.DEVICE), following):
            if move.module not in self._begun:
                self._begun.add(move.module)
                self.store.begin(move)

    def _broke_down(self, module: ModuleName) -> None:
        with self._guard.changing() as register:
            outcomes = register.broke_down(module, tier=self.store.whereabouts(module))
        for outcome in outcomes:
            outcome()

    def _fell_short(self, move: Move, residence: Residence) -> None:
        _log.warning("restore_found_no_memory", module=move.module, bytes=residence.home_bytes)
        with self._guard.changing() as register:
            tier = self.store.whereabouts(move.module)
            register.fell_short(move.module, tier=tier, now_seconds=self._guard.clock())

    def _came(self, move: Move, brought: Brought) -> None:
        with self._guard.changing(announces=False) as register:
            register.came(move, brought, now_seconds=self._guard.clock())
        moved_bytes = brought.host_bytes if move.target > register.situation.home else brought.home_bytes
        self._notes.add(move, moved_bytes=moved_bytes, seconds=brought.seconds)

    def _take_away(self, move: Move, residence: Residence) -> None:
        went = self.store.take_away(self._specs[move.module], move, residence)
        failure = self._mover.failure(move.module)
        if failure is not None:
            # What it holds there is lost to everybody, and health says so before anybody asks for it.
            _log.error("module_broken", module=move.module, authority=move.authority.value, reason=str(failure))
            self._broke_down(move.module)
            return
        with self._guard.changing(announces=False) as register:
            register.went(move, went, now_seconds=self._guard.clock())
        self._notes.add(move, moved_bytes=went.released_bytes, seconds=went.seconds)

    def _load_first(self, spec: ModuleSpec, *, pinned: bool) -> None:
        """Load a module for the first time; it rests away from home if that is its place, or it finds no room.

        What somebody has wished for meanwhile is its place.
        """
        move = self._set_out_first(spec, Tier.HOST)
        try:
            self._came(move, self.store.load_first(spec))
        except (MemoryError, RestoreFailedError) as error:
            raise StartupError(str(error)) from error
        with self._guard.reading() as register:
            situation = register.situation
        fits = fits_beside(situation, spec.name)
        if pinned and not fits:
            bound = budget_bytes(situation.wishes)
            raise StartupError(f"{spec.name} is pinned, and what is pinned does not fit into {bound:,} bytes")
        wish = wish_for(situation.wishes, spec.name, home=situation.home)
        residence = residence_of(situation, spec.name)
        tier = rest_of(situation, residence) if wish is None else wish.tier
        if tier is situation.home and not fits:
            tier = away_from_home(situation, residence)
        if tier is Tier.HOST:
            self.store.admit(spec)
        else:
            move = self._set_out_first(spec, tier, Authority.DEFAULT if wish is None else wish.authority)
            self._make(move, residence)
            self._check_first(spec, pinned=pinned and tier is situation.home)

    def _check_first(self, spec: ModuleSpec, *, pinned: bool) -> None:
        """Raise StartupError for a module that the device does not take; if memory is short, it may wait on HOST."""
        with self._guard.reading() as register:
            residence = residence_of(register.situation, spec.name)
            away = residence.tier is not register.situation.home
        if residence.state is ModuleState.BROKEN or (pinned and away):
            raise StartupError(f"{spec.name} could not be brought to the device; the log says why")

    def _set_out_first(self, spec: ModuleSpec, target: Tier, authority: Authority = Authority.DEFAULT) -> Move:
        with self._guard.changing() as register:
            tier = residence_of(register.situation, spec.name).tier
            move = Move(module=spec.name, source=tier, target=target, authority=authority)
            register.set_out(move)
        return move
