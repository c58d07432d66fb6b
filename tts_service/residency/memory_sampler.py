"""Takes samples of memory for the history: once in a while, and around moves."""

from collections.abc import Callable

from tts_service.residency.guard import Guard
from tts_service.residency.history import MemoryHistory, MemorySample
from tts_service.residency.mover import Mover
from tts_service.residency.reports import phase_of
from tts_service.residency.situation import home_bytes

SAMPLE_SECONDS = 1.0
"""Time between samples of memory while nothing moves."""

FRESH_SECONDS = 0.1
"""For so long the last sample tells how it was before a move: to take another would keep that waiting. After moves
without a rest, samples are as far apart: each takes Python's lock from those who speak."""


class MemorySampler:
    """Samples into a `history`, if that keeps any. Thread-safe."""

    def __init__(self, history: MemoryHistory, *, guard: Guard, mover: Mover, wall_clock: Callable[[], float]) -> None:
        self._history = history
        self._guard = guard
        self._mover = mover
        self._wall_clock = wall_clock
        self._sampled_seconds = guard.clock()
        self._after_seconds = float("-inf")
        self._owes = False

    def __repr__(self) -> str:
        return f"<MemorySampler into {self._history!r}>"

    @property
    def due_seconds(self) -> float:
        """When the next sample is due."""
        return self._after_seconds + FRESH_SECONDS if self._owes else self._sampled_seconds + SAMPLE_SECONDS

    def sample_before(self) -> None:
        """Take a sample before something moves, unless there is a fresh one."""
        if self._guard.clock() >= self._sampled_seconds + FRESH_SECONDS:
            self.sample()

    def sample_after(self) -> None:
        """Take a sample after something has moved; a little later if there was one after other moves just now.

        Nobody is told that one is due then: `due_seconds` says it.
        """
        now_seconds = self._guard.clock()
        if now_seconds >= self._after_seconds + FRESH_SECONDS:
            self._after_seconds = now_seconds
            self.sample()
        else:
            self._owes = True

    def sample(self) -> None:
        """Take a sample of memory, if a history is kept."""
        self._owes = False
        if not self._history.keeps:
            self._sampled_seconds = self._guard.clock()
            return
        usage, process_bytes = self._mover.device_usage(), self._mover.process_bytes()
        with self._guard.reading() as register:
            self._sampled_seconds = self._guard.clock()
            self._history.record(
                MemorySample(
                    unix_seconds=self._wall_clock(),
                    phase=phase_of(register.situation, started=register.opened),
                    process_bytes=process_bytes,
                    home_bytes=home_bytes(register.situation),
                    device_bytes=None if usage is None else usage.reserved_bytes,
                )
            )
