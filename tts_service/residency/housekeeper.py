"""Gives memory back without anybody's placement: after work, at the static marks, and when an operator asks to trim.

What to give back is decided in `upkeep`. Chores run on the thread that moves modules, one after the other, so that no
move and no other chore changes what one of them measures.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from tts_service.residency.guard import Guard
from tts_service.residency.mover import Mover
from tts_service.residency.register import Register
from tts_service.residency.trimming import Held, TrimReport, trimmed
from tts_service.residency.types import Authority
from tts_service.residency.upkeep import IDLE_CACHE_BYTES, Upkeep, is_quiet, relief, to_trim
from tts_service.residency.waiting import closing_error
from tts_service.types import ModuleName

Chore = Callable[[], None]

_log = structlog.get_logger(__name__)


class Scratch(Protocol):
    """Scratch memory that stays while its module does, and of which parts may be free."""

    def trim(self) -> object:
        """Give back the parts that nobody uses, waiting for nobody. Called by the thread that moves modules."""
        ...


class NoScratch:
    """Scratch memory of a service that has none."""

    def trim(self) -> None:
        """Give back nothing."""

    def __repr__(self) -> str:
        return "<NoScratch>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What memory there is beside modules: scratch memory, and what is free where modules compute (None: unknown)."""

    scratch: Scratch = field(default_factory=NoScratch)
    free_bytes: Callable[[], int | None] = lambda: None


NO_RESOURCES = Resources()
"""Nothing beside modules, and nobody who knows what is free."""


class Housekeeper:
    """Does what `upkeep` says, and what it is asked to. Thread-safe, but for `after_moves` and `do_chores`."""

    def __init__(self, upkeep: Upkeep, resources: Resources, *, guard: Guard, mover: Mover) -> None:
        self._upkeep = upkeep
        self._resources = resources
        self._guard = guard
        self._mover = mover
        self._chores: deque[tuple[Chore, Future[None]]] = deque()
        self._claims_ended = 0
        self._unreturned_bytes = 0
        self._is_short = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<Housekeeper {self._upkeep} | {len(self._chores)} chores>"

    @property
    def keeps_history(self) -> bool:
        """Whether samples of memory are kept."""
        return self._upkeep.keeps_history

    @property
    def has_chores(self) -> bool:
        """Whether there is something to do."""
        return bool(self._chores)

    def tick(self) -> None:
        """Look after memory as time goes by."""
        self._clean_up_after_utterances()
        self._keep_marks()
        self._give_back_idle_cache()

    def after_moves(self) -> None:
        """Clean up after modules have moved, if that is wanted."""
        if self._upkeep.cleans_up:
            self._give_back()

    def do_chores(self) -> None:
        """Do what was asked for, in the thread that moves modules."""
        while self._chores:
            chore, done = self._chores.popleft()
            if done.set_running_or_notify_cancel():
                try:
                    chore()
                except Exception as error:  # noqa: BLE001 - it is told to whoever asked.
                    done.set_exception(error)
                else:
                    done.set_result(None)

    def trim(self, *, modules: bool, timeout_seconds: float) -> TrimReport:
        """Give back what can be given without keeping anybody waiting; `modules` sends idle ones away as well.

        Waits until it is done or takes too long, and tells in either case what is held then. Raises ServiceError
        DRAINING.
        """
        before = self._held()
        with self._guard.changing() as register:
            wanted = to_trim(register.situation, modules=modules)
            sent = register.send_away(wanted, Authority.OPERATOR)
        finished = self._await(self._ask(self._give_all_back), timeout_seconds)
        return trimmed(before, self._held(), sent=sent, with_modules=modules, finished=finished)

    def close(self) -> None:
        """Do nothing more; whoever waits for a chore is refused."""
        self._closed = True
        while self._chores:
            self._chores.popleft()[1].cancel()

    def _ask(self, chore: Chore) -> Future[None]:
        done: Future[None] = Future()
        with self._guard.changed:
            self._chores.append((chore, done))
            self._guard.queued.notify_all()
        if self._closed:
            self.close()
        return done

    def _await(self, done: Future[None], timeout_seconds: float) -> bool:
        """Wait for a chore; tells whether it was done in time. Raises ServiceError DRAINING if it never will be."""
        try:
            done.result(timeout_seconds)
        except TimeoutError:
            done.cancel()
            return False
        except CancelledError:
            raise closing_error() from None
        return True

    def _give_all_back(self) -> None:
        self._resources.scratch.trim()
        self._give_back()

    def _give_back(self) -> None:
        """Return what allocators keep; if nobody computes, also what libraries keep to compute in."""
        with self._guard.reading() as register:
            if not any(register.situation.leases.held.values()):
                # Under the lock, so that nobody begins to compute in it.
                self._mover.forget_workspaces()
        self._mover.give_back()

    def _held(self) -> Held:
        with self._guard.reading() as register:
            residences = register.situation.residences
            home = register.situation.home
        return Held(
            home_bytes=sum(each.home_bytes for each in residences if each.tier is home and not each.is_scratch),
            process_bytes=self._mover.process_bytes(),
            device=self._mover.device_usage(closely=True),
        )

    def _clean_up_after_utterances(self) -> None:
        with self._guard.reading() as register:
            ended, self._claims_ended = register.claims_ended != self._claims_ended, register.claims_ended
        if ended and self._upkeep.cleans_up:
            self._ask(self._give_back)

    def _give_back_idle_cache(self) -> None:
        """Give back what the device's allocator keeps beyond what speech uses, once nobody speaks."""
        if self._chores or self._cached_bytes() <= self._unreturned_bytes + IDLE_CACHE_BYTES:
            return
        with self._guard.reading() as register:
            quiet = is_quiet(register.situation)
        if quiet:
            self._ask(self._return_cache)

    def _return_cache(self) -> None:
        self._give_back()
        # What is in use in pieces cannot go: it must not be tried again every second.
        self._unreturned_bytes = self._cached_bytes()

    def _cached_bytes(self) -> int:
        usage = self._mover.device_usage()
        return 0 if usage is None else usage.reserved_bytes - usage.allocated_bytes

    def _keep_marks(self) -> None:
        """Give back what allocators keep when memory has become short, and modules as long as it is."""
        marks = self._upkeep.marks
        free_bytes = self._resources.free_bytes() if marks.are_set else None
        was_short, self._is_short = self._is_short, free_bytes is not None and free_bytes < marks.highest_bytes
        if free_bytes is None or not self._is_short or self._chores:
            return
        with self._guard.reading() as register:
            governed = register.situation.wishes.directive is not None
            wanted = self._wanted(register, free_bytes)
        if wanted or not (was_short or governed):
            self._ask(self._relieve)

    def _relieve(self) -> None:
        """Send away what is still wanted away when allocators keep nothing any more."""
        self._give_back()
        free_bytes = self._resources.free_bytes()
        if free_bytes is None:
            return
        with self._guard.changing() as register:
            sent = register.send_away(self._wanted(register, free_bytes), Authority.DEFAULT)
        if sent:
            _log.info("memory_below_static_mark", free_bytes=free_bytes, modules=list(sent))

    def _wanted(self, register: Register, free_bytes: int) -> tuple[ModuleName, ...]:
        now_seconds = self._guard.clock()
        return relief(register.situation, self._upkeep.marks, free_bytes=free_bytes, now_seconds=now_seconds)
