"""Makes the moves that the register has queued, one at a time, and samples memory between them."""

import threading
from collections.abc import Callable, Mapping

import structlog

from tts_service.errors import StartupError
from tts_service.models.catalog import ModuleSpec
from tts_service.residency.guard import Guard
from tts_service.residency.history import MemoryHistory, MemorySample
from tts_service.residency.mover import Evicted, Mover, Restored, RestoreFailedError
from tts_service.residency.register import Register
from tts_service.residency.reports import phase_of
from tts_service.residency.situation import Move, home_bytes, residence_of
from tts_service.residency.types import Authority
from tts_service.residency.wishes import budget_bytes, pinned
from tts_service.types import ModuleName

SAMPLE_SECONDS = 1.0
"""Time between samples of memory while nothing moves."""

REST_SECONDS = 1.0
"""Rest after an error that should not be, so that it does not fill the log."""

_log = structlog.get_logger(__name__)


class MoveWorker:
    """One thread that moves modules, and one that keeps time, so that no deadline waits for a move that hangs.

    `objects` are the modules that are at home, and the only references to them.
    """

    def __init__(
        self,
        specs: Mapping[ModuleName, ModuleSpec],
        *,
        guard: Guard,
        mover: Mover,
        wall_clock: Callable[[], float],
    ) -> None:
        self.objects: dict[ModuleName, object] = {}
        self.history = MemoryHistory()
        self._specs = specs
        self._guard = guard
        self._mover = mover
        self._wall_clock = wall_clock
        self._sampled_seconds = guard.clock()
        self._threads: tuple[threading.Thread, ...] = ()
        self._closing = False

    def __repr__(self) -> str:
        life = "works" if any(thread.is_alive() for thread in self._threads) else "rests"
        return f"<MoveWorker {life} | {len(self.objects)} of {len(self._specs)} modules home>"

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
        for thread in self._threads:
            thread.join()

    def load_all(self) -> None:
        """Bring every module home once, pinned ones first, and keep those that rest there and fit.

        Shows at the start that all can be loaded, and what they hold. Raises StartupError.
        """
        with self._guard.reading() as register:
            kept = pinned(register.situation.wishes, home=register.situation.home)
        for spec in sorted(self._specs.values(), key=lambda each: each.name not in kept):
            self._load_first(spec, pinned=spec.name in kept)
            self.sample()
        with self._guard.changing() as register:
            register.opened = True

    def make_moves(self) -> int:
        """Make the moves that are queued; returns how many there were."""
        made = 0
        while (move := self._next_move()) is not None:
            self.sample()
            self._make(move)
            self.sample()
            made += 1
        return made

    def tick(self) -> None:
        """Decide again if time alone has changed something, and sample memory once in a while."""
        with self._guard.reading() as register:
            due_seconds = register.next_seconds()
        if due_seconds is not None and due_seconds <= self._guard.clock():
            with self._guard.changing():
                pass
        if self._guard.clock() >= self._sampled_seconds + SAMPLE_SECONDS:
            self.sample()

    def sample(self) -> None:
        """Take a sample of memory."""
        process_bytes = self._mover.process_bytes()
        with self._guard.reading() as register:
            self._sampled_seconds = self._guard.clock()
            self.history.record(
                MemorySample(
                    unix_seconds=self._wall_clock(),
                    phase=phase_of(register.situation, started=register.opened),
                    process_bytes=process_bytes,
                    home_bytes=home_bytes(register.situation),
                )
            )

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
            self._guard.changed.wait_for(lambda: self._closing or register.jobs)
            return not self._closing

    def _wait_for_time(self) -> bool:
        """Wait until time alone changes something or a sample is due; False when it is time to go."""
        with self._guard.reading() as register:
            while not self._closing:
                times = (register.next_seconds(), self._sampled_seconds + SAMPLE_SECONDS)
                rest_seconds = min(time for time in times if time is not None) - self._guard.clock()
                if rest_seconds <= 0:
                    return True
                self._guard.changed.wait(rest_seconds)
            return False

    def _next_move(self) -> Move | None:
        with self._guard.reading() as register:
            return register.jobs.popleft() if register.jobs and not self._closing else None

    def _make(self, move: Move) -> None:
        with self._guard.reading() as register:
            restoring = move.target is register.situation.home
            known_bytes = residence_of(register.situation, move.module).home_bytes
        if restoring:
            self._restore(move, known_bytes)
        else:
            self._evict(move, known_bytes)

    def _restore(self, move: Move, known_bytes: int) -> None:
        try:
            restored = self._mover.restore(self._specs[move.module], home_bytes=known_bytes)
        except MemoryError:
            _log.warning("restore_found_no_memory", module=move.module, bytes=known_bytes)
            with self._guard.changing() as register:
                register.fell_short(move.module, now_seconds=self._guard.clock())
        except RestoreFailedError:
            _log.exception("module_broken", module=move.module, authority=move.authority.value)
            with self._guard.changing() as register:
                outcomes = register.broke_down(move.module)
            for outcome in outcomes:
                outcome()
        else:
            with self._guard.changing() as register:
                self._came_home(register, move, restored)

    def _came_home(self, register: Register, move: Move, restored: Restored) -> None:
        self.objects[move.module] = restored.module
        register.came_home(move, restored, now_seconds=self._guard.clock())
        _log_move(move, moved_bytes=restored.home_bytes, seconds=restored.seconds)

    def _evict(self, move: Move, known_bytes: int) -> None:
        evicted = self._mover.evict(
            self._specs[move.module], lambda: self.objects.pop(move.module), home_bytes=known_bytes
        )
        with self._guard.changing() as register:
            self._left(register, move, evicted)

    def _left(self, register: Register, move: Move, evicted: Evicted) -> None:
        register.left(move, evicted, now_seconds=self._guard.clock())
        _log_move(move, moved_bytes=evicted.released_bytes, seconds=evicted.seconds)

    def _load_first(self, spec: ModuleSpec, *, pinned: bool) -> None:
        """Load a module for the first time; it goes again at once if it rests away or finds no room."""
        move = self._set_out_first(spec, home=True)
        try:
            restored = self._mover.measure(spec)
        except (MemoryError, RestoreFailedError) as error:
            raise StartupError(str(error)) from error
        with self._guard.changing() as register:
            self._came_home(register, move, restored)
            budget = budget_bytes(register.situation.wishes)
            fits = budget is None or home_bytes(register.situation) <= budget
        del restored
        if pinned and not fits:
            raise StartupError(f"{spec.name} is pinned, and what is pinned does not fit into {budget:,} bytes")
        if not fits or not (pinned or spec.rests_at_home):
            away = self._set_out_first(spec, home=False)
            self._make(away)

    def _set_out_first(self, spec: ModuleSpec, *, home: bool) -> Move:
        with self._guard.changing() as register:
            situation = register.situation
            tier = residence_of(situation, spec.name).tier
            target = situation.home if home else situation.away
            move = Move(module=spec.name, source=tier, target=target, authority=Authority.DEFAULT)
            register.set_out(move)
        return move


def _log_move(move: Move, *, moved_bytes: int, seconds: float) -> None:
    _log.info(
        "module_moved",
        module=move.module,
        source=move.source.name,
        target=move.target.name,
        bytes=moved_bytes,
        seconds=round(seconds, 6),
        authority=move.authority.value,
    )
