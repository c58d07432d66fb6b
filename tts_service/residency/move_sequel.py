"""What follows moves, and goes on while nothing moves: samples, notes that are told, and looks after memory.

All of it takes Python's lock from those who speak. So it comes when no move follows, and where modules move without a
rest, some of it is left to whoever keeps time.
"""

from typing import Final

from tts_service.residency.guard import Guard
from tts_service.residency.housekeeper import Housekeeper
from tts_service.residency.memory_sampler import MemorySampler
from tts_service.residency.move_notes import MoveNotes

TEND_SECONDS: Final = 1.0
"""Time between two looks after memory."""


class MoveSequel:
    """For the thread that moves, but for `tick`, which is for the one that keeps time."""

    def __init__(self, *, guard: Guard, sampler: MemorySampler, notes: MoveNotes, housekeeper: Housekeeper) -> None:
        self._guard = guard
        self._sampler = sampler
        self._notes = notes
        self._housekeeper = housekeeper
        self._tended_seconds = guard.clock()
        self._wakes_seconds = float("inf")

    def __repr__(self) -> str:
        return f"<MoveSequel {self._sampler!r} | {self._notes!r}>"

    def before(self, *, is_long: bool, is_first: bool) -> None:
        """Do what must be done before a move; one from or to disk takes so long that nothing waits for it."""
        if is_long:
            self._tell()
            self._sampler.sample()
        elif is_first:
            self._sampler.sample_before()

    def loaded(self) -> None:
        """Do what follows a module's first load."""
        self._sampler.sample()
        self._tell()

    def after(self) -> None:
        """Do what follows the last move; what is left for later, whoever keeps time hears of."""
        self._sampler.sample_after()
        self._tell()
        self._housekeeper.after_moves()
        with self._guard.changed:
            if self._due_seconds < self._wakes_seconds:
                self._wakes_seconds = self._due_seconds
                self._guard.rescheduled.notify_all()

    def wake_seconds(self, earlier_seconds: float | None) -> float:
        """Return when whoever keeps time is to wake, under the guard's lock; something else is due then if given."""
        due_seconds = self._due_seconds
        self._wakes_seconds = due_seconds if earlier_seconds is None else min(earlier_seconds, due_seconds)
        return self._wakes_seconds

    def tick(self) -> None:
        """Do what is due."""
        now_seconds = self._guard.clock()
        self._notes.tell(now_seconds=now_seconds)
        if now_seconds >= self._sampler.due_seconds:
            self._sampler.sample()
        if now_seconds >= self._tended_seconds + TEND_SECONDS:
            self._tended_seconds = now_seconds
            self._housekeeper.tick()

    def _tell(self) -> None:
        """Tell whoever listens of what has moved."""
        self._guard.announce()
        self._notes.tell(now_seconds=self._guard.clock())

    @property
    def _due_seconds(self) -> float:
        due_seconds = min(self._sampler.due_seconds, self._tended_seconds + TEND_SECONDS)
        told_seconds = self._notes.due_seconds
        return due_seconds if told_seconds is None else min(told_seconds, due_seconds)
