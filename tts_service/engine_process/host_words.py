"""What the engine's process tells of itself without being asked: that it lives, its steps, moves, modules and voices.

Steps, runs and moves happen in other threads; they are collected here, and said with the next pulse.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tts_service.engine_process.messages import Moved, Pulse, Ran, Reported, Stepped, VoicesThere
from tts_service.late_counts import LateCounts
from tts_service.residency.situation import Move
from tts_service.residency.types import ResidencyReport
from tts_service.scheduling.utilisation import Part
from tts_service.speech.session_config import VoiceFacts
from tts_service.types import ModuleName

PULSE_SECONDS: Final = 0.25
REPORT_SECONDS: Final = 1.0
STEPS_KEPT: Final = 10_000
"""Between two pulses; beyond that the oldest are not counted."""


class HostWords:
    """Collects and says it."""

    def __init__(self, say: Callable[[Any], object], *, longest_step: Callable[[], float | None]) -> None:
        self._say = say
        self._longest_step = longest_step
        self._steps: deque[Stepped | Moved] = deque(maxlen=STEPS_KEPT)
        self._runs: dict[Part, Ran] = {}
        self._lock = threading.Lock()

    def stepped(self, modules: frozenset[ModuleName], seconds: float) -> None:
        """Take in a step, in its thread."""
        self._steps.append(Stepped(modules=tuple(sorted(modules)), seconds=seconds))

    def ran(self, part: Part, seconds: float, expected_seconds: float) -> None:
        """Take in a part's run, in its thread."""
        with self._lock:
            before = self._runs.get(part, Ran(part=part, seconds=0.0, expected_seconds=0.0))
            seconds, expected_seconds = before.seconds + seconds, before.expected_seconds + expected_seconds
            self._runs[part] = Ran(part=part, seconds=seconds, expected_seconds=expected_seconds)

    def moved(self, move: Move, moved_bytes: int, seconds: float) -> None:
        """Take in a move, in its thread."""
        self._steps.append(Moved(move=move, moved_bytes=moved_bytes, seconds=seconds))

    async def pulse(self) -> None:
        """Say now and then that the event loop turns, and what was collected."""
        while True:
            self._say(Pulse(step_seconds=self._longest_step()))
            while self._steps:
                self._say(self._steps.popleft())
            with self._lock:
                runs, self._runs = self._runs, {}
            for each in runs.values():
                self._say(each)
            await asyncio.sleep(PULSE_SECONDS)

    async def report(
        self,
        report: Callable[[], ResidencyReport],
        broken: Callable[[], tuple[ModuleName, ...]],
        late: Callable[[], LateCounts],
    ) -> None:
        """Say where the modules are, every second and once one of them is broken or mended."""
        told: tuple[ModuleName, ...] | None = None
        due = 0.0
        while True:
            now, found = asyncio.get_running_loop().time(), broken()
            if found != told or now >= due:
                told, due = found, now + REPORT_SECONDS
                self._say(Reported(report=report(), broken=found, late=late()))
            await asyncio.sleep(PULSE_SECONDS)

    def __repr__(self) -> str:
        return f"<HostWords {len(self._steps)} steps to say>"


class HostVoices:
    """Tells the voices when they have changed, here or in their folder."""

    def __init__(self, voices: Mapping[str, VoiceFacts], folder: Path | None, say: Callable[[Any], object]) -> None:
        self._voices = voices
        self._folder = folder
        self._say = say
        self.told = self.all

    @property
    def all(self) -> tuple[VoiceFacts, ...]:
        """All of them; one may go while they are looked through."""
        found = (self._voices.get(voice_id) for voice_id in tuple(self._voices))
        return tuple(voice for voice in found if voice is not None)

    def tell(self) -> None:
        """Say them if they are others than were said last."""
        found = self.all
        if found != self.told:
            self.told = found
            self._say(VoicesThere(voices=found))

    async def watch(self) -> None:
        """Look now and then whether somebody else has changed the folder; its time tells."""
        seen = self._mark()
        while self._folder is not None:
            await asyncio.sleep(REPORT_SECONDS)
            mark = self._mark()
            if mark != seen:
                seen = mark
                self.tell()

    def _mark(self) -> int | None:
        try:
            return None if self._folder is None else self._folder.stat().st_mtime_ns
        except OSError:
            return None

    def __repr__(self) -> str:
        return f"<HostVoices {len(self.told)} told>"
