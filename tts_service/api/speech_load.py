"""Measures what speech takes of the service, for admission: steps, the event loop, and the audio that came of them."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from tts_service.errors import Reason
from tts_service.scheduling.capacity import Standing
from tts_service.scheduling.utilisation import (
    Company,
    Machine,
    Part,
    Runs,
    Seen,
    Utilisation,
    joined,
    measured,
    standing_with,
)
from tts_service.speech import protocol
from tts_service.speech.session_config import Pacing, SessionConfig
from tts_service.types import ModuleName, Priority

T3: Final = ModuleName("t3")
PERIOD_SECONDS: Final = 0.5
"""Measurements are taken together over at least so long."""


class SpeechLoad:
    """What is measured, and how the machine stands by it.

    Hears of speech as a `SpeechWatch`, and of steps in their threads. `threads` are how many steps of a part are taken
    at once; `cpu_clock` tells the event loop's own time and is read in its thread.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        threads: Mapping[Part, int],
        clock: Callable[[], float],
        listening_share: float = 0.25,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._machine = machine
        self._threads = threads
        self._clock = clock
        self._listening_share = listening_share
        self._cpu_clock = cpu_clock
        self._cpu_seconds: float | None = None
        self._lock = threading.Lock()
        self._busy_seconds: defaultdict[Part, float] = defaultdict(float)
        self._runs: dict[Part, Runs] = {}
        self._audio_seconds = self._paced_seconds = 0.0
        self._gaps = 0
        self._known = Utilisation(at=clock())

    # --- what happens -------------------------------------------------------------------------------------------

    def stepped(self, modules: frozenset[ModuleName], seconds: float) -> None:
        """Count a step, in a worker's thread."""
        part = Part.TOKENS if T3 in modules and Part.TOKENS in self._threads else Part.SOUND
        with self._lock:
            self._busy_seconds[part] += seconds / self._threads[part]

    def ran(self, part: Part, seconds: float, expected_seconds: float) -> None:
        """Count a part's runs: what they took, and what they take by the figures. From any thread."""
        with self._lock:
            before = self._runs.get(part, Runs())
            self._runs[part] = Runs(
                seconds=before.seconds + seconds, expected_seconds=before.expected_seconds + expected_seconds
            )

    def said(self, message: protocol.ServerMessage, config: SessionConfig) -> None:
        """Count what is told a client."""
        match message:
            case protocol.AudioChunk():
                seconds = message.piece.sample_count / config.audio_format.sample_rate_hertz
                counts = config.pacing is Pacing.REALTIME and config.priority is Priority.INTERACTIVE
                self._audio_seconds += seconds
                self._paced_seconds += seconds if counts else 0.0
            case protocol.UtteranceDone() if config.priority is Priority.INTERACTIVE:
                self._gaps += message.underruns
            case _:
                pass

    def joined(self) -> None:
        """Count a paced interactive session that was let in."""
        self._known = joined(self._known)

    def opened(self, config: SessionConfig, *, streaming: bool) -> None:
        """Let it pass."""

    def failed(self, reason: Reason) -> None:
        """Let it pass."""

    def looked(self, verdict: str) -> None:
        """Let it pass."""

    def voice_made(self) -> None:
        """Let it pass."""

    # --- what is known ------------------------------------------------------------------------------------------

    def standing(self, company: Company) -> Standing:
        """Return how the machine stands with this company, in the event loop."""
        if self._clock() - self._known.at >= PERIOD_SECONDS:
            self.take(company.paced + company.unpaced)
        return standing_with(self._known, self._machine, company, listening_share=self._listening_share)

    def take(self, sessions: int) -> None:
        """Take in what was measured since the last time, in the event loop, with so many interactive sessions open."""
        with self._lock:
            busy, self._busy_seconds = self._busy_seconds, defaultdict(float)
            runs, self._runs = self._runs, {}
        cpu_seconds = self._cpu_clock()
        if self._cpu_seconds is not None:
            busy[Part.FRONT] = cpu_seconds - self._cpu_seconds
        self._cpu_seconds = cpu_seconds
        seen = Seen(
            busy_seconds=busy,
            runs=runs,
            audio_seconds=self._audio_seconds,
            paced_seconds=self._paced_seconds,
            gaps=self._gaps,
            sessions=sessions,
        )
        self._audio_seconds, self._paced_seconds, self._gaps = 0.0, 0.0, 0
        self._known = measured(self._known, seen, self._machine, self._clock())

    @property
    def known(self) -> Utilisation:
        """What was measured; may be read in any thread."""
        return self._known

    def __repr__(self) -> str:
        busy = ", ".join(f"{part.value} {share:.2f}" for part, share in self._known.busy.items())
        return f"<SpeechLoad {busy or 'nothing yet'} | {self._known.audio_rate:.1f} s of audio a second>"
