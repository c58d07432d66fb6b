"""What a loop does with a stage, as a step: whoever counts and tells of steps takes it as any other."""

from collections.abc import Callable

from tts_service.speech.speech_model import Lane, Modules, Sound
from tts_service.types import ModuleName


class OwnStep:
    """A step of a loop's own."""

    has_step = True
    ended = False

    def __init__(self, lane: Lane, modules: frozenset[ModuleName], run: Callable[[Modules], Sound | None]) -> None:
        self.lane = lane
        self.modules = modules
        self._run = run

    def step(self, leased: Modules) -> Sound | None:
        """Do it."""
        return self._run(leased)

    def __repr__(self) -> str:
        return f"<OwnStep {self._run!r}>"
