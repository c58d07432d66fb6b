"""What a decision starts from, what it comes to, and the words for both."""

from dataclasses import dataclass

from memory_daemon.marks import Marks, Policy
from memory_daemon.orders import Check, Observation, ServiceView
from memory_daemon.sizes import size_text
from memory_daemon.types import MemorySample, ModuleName, PendingMove, Pressure, ServiceName

PENDING_WORDS = {"budget": "out of budget", "operator": "pinned by its service's configuration"}
"""Reasons of a pending move that are no words for a module."""

Named = tuple[ServiceName, ModuleName]
"""A module of a service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided. `resample` asks for a second reading before anything is done; `marks` None while blind."""

    pressure: Pressure
    next_seconds: float
    marks: Marks | None = None
    resample: bool = False
    reason: str = ""
    evict: tuple[Named, ...] = ()
    restore: tuple[Named, ...] = ()
    trim: tuple[ServiceName, ...] = ()
    to_disk: tuple[Named, ...] = ()
    to_host: tuple[Named, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One observation of readable memory, with what follows from it."""

    seen: Observation
    sample: MemorySample
    policy: Policy
    marks: Marks
    pressure: Pressure

    @property
    def now_seconds(self) -> float:
        """The time of the reading is the time of the decision."""
        return self.sample.seconds

    @property
    def need_bytes(self) -> int:
        """What is missing until `high` is free; negative if nothing is."""
        return self.marks.high_bytes - self.sample.free_bytes

    def free_words(self) -> str:
        """Say how much is free, beside the mark that matters."""
        free = size_text(self.sample.free_bytes)
        match self.pressure:
            case Pressure.CRITICAL:
                return f"{free} free, below critical ({size_text(self.marks.critical_bytes)})"
            case Pressure.LOW:
                return f"{free} free, below low ({size_text(self.marks.low_bytes)})"
            case _:
                return f"{free} free, high is {size_text(self.marks.high_bytes)}"


def refused_words(refused: tuple[ServiceView, ...]) -> str:
    """Say who refused what, and why."""
    return "; ".join(
        f"{view.service} refused directive {view.refusal.version}: {view.refusal.reason}"
        for view in refused
        if view.refusal is not None
    )


def stuck_words(scene: Scene) -> str:
    """Say that modules should leave and none can, or may."""
    if scene.seen.frozen:
        return f"{scene.free_words()}: an operator's freeze keeps modules where they are"
    return f"{scene.free_words()}: nothing that may leave is left"


def give_back_words(scene: Scene, check: Check) -> str:
    """Say why modules have to leave, and how much is asked for."""
    wanted, asked = size_text(scene.need_bytes), size_text(check.expected_bytes)
    kept = f", {size_text(check.trimmed_bytes)} of it kept by allocators" if check.trimmed_bytes else ""
    return f"{scene.free_words()}: {wanted} wanted, {asked} asked for{kept}"


def released_words(seen: Observation, *, released_bytes: int, expected_bytes: int, late_seconds: float | None) -> str:
    """Say what came of a give-back; with what still holds modules if it was late."""
    words = f"{size_text(released_bytes)} of {size_text(expected_bytes)} were released"
    if late_seconds is None:
        return words
    pending = [_pending_words(move) for view in seen.services for move in view.report.pending_moves]
    return f"{words} in {late_seconds:g} s" + (f": {', '.join(pending)}" if pending else "")


def _pending_words(move: PendingMove) -> str:
    return f"{move.module} is {PENDING_WORDS.get(move.reason, move.reason)}"
