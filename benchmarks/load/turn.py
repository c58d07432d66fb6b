"""What a client says during one utterance, and when: text, its end, playback, an interruption. Pure.

Whoever carries it out asks for the next step with the time, and asks again when the time has come or something was
heard. A turn is over when the listener has heard it out, or has been told that the interruption is obeyed.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.load.heard import Ending, Heard


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Write a piece of text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Say that no text follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Tell how much was played."""

    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Interrupt it; so much was heard."""

    heard_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Do nothing before this time, unless something is heard; it may be infinite."""

    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """Nothing more is to be said."""


Step = Say | End | Report | Cancel | Wait | Over


class Turn:
    """The client's side of one utterance.

    `pieces` have times; `barge_in_seconds` is the position of playback at which the listener interrupts (None: never);
    `report_seconds` between reports of playback, 0 for none. `is_paced`: the listener hears it out in real time.
    """

    def __init__(
        self,
        heard: Heard,
        pieces: Iterable[tuple[float, str]],
        *,
        report_seconds: float = 0.25,
        barge_in_seconds: float | None = None,
        is_paced: bool = True,
    ) -> None:
        self.heard = heard
        self._pieces = deque(pieces)
        self._report_seconds = report_seconds
        self._barge_in_seconds = barge_in_seconds
        self._is_paced = is_paced
        self._has_ended = False
        self._reported_at = -math.inf
        self._reported_samples = -1

    def __repr__(self) -> str:
        return f"<Turn {self.heard.id} {len(self._pieces)} pieces to write | {self.heard!r}>"

    def next(self, now: float) -> Step:
        """Return what to do now; the caller does it."""
        if self.heard.ending in {Ending.CANCELLED, Ending.FAILED}:
            return Over()
        if self.heard.interrupted_at is not None:
            return Wait(until=math.inf)
        if self._is_reached(now):
            self.heard.interrupted_at = now
            return Cancel(heard_samples=self.heard.played_samples(now))
        if self.heard.ending is Ending.OPEN and (said := self._writing(now)) is not None:
            return said
        report = self._report(now)
        if report is not None:
            return report
        return Over() if self._is_heard_out(now) else Wait(until=self._wake_at())

    def _is_reached(self, now: float) -> bool:
        wanted, player = self._barge_in_seconds, self.heard.player
        return wanted is not None and 0.0 < wanted <= player.received_seconds and now >= player.at(wanted)

    def _writing(self, now: float) -> Step | None:
        if self._pieces:
            return Say(text=self._pieces.popleft()[1]) if self._pieces[0][0] <= now else None
        if self._has_ended:
            return None
        self._has_ended = True
        return End()

    def _report(self, now: float) -> Report | None:
        """Report what has been played: now and then, and once at the end, so that the next utterance finds no lead."""
        if not self._is_paced or self._report_seconds <= 0.0 or not self.heard.samples:
            return None
        samples = self.heard.played_samples(now)
        is_last = self._is_heard_out(now) and samples != self._reported_samples
        if not is_last and now < self._reported_at + self._report_seconds:
            return None
        if self._is_heard_out(now) and samples == self._reported_samples:
            return None
        self._reported_at, self._reported_samples = now, samples
        return Report(samples=samples)

    def _is_heard_out(self, now: float) -> bool:
        if self.heard.ending is not Ending.DONE:
            return False
        return not self._is_paced or not self.heard.samples or now >= self.heard.player.ends_at

    def _wake_at(self) -> float:
        times = [math.inf]
        if self._pieces and self.heard.ending is Ending.OPEN:
            times.append(self._pieces[0][0])
        if self.heard.samples:
            times += self._playback_times()
        return min(times)

    def _playback_times(self) -> list[float]:
        player = self.heard.player
        times = [player.ends_at] if self.heard.ending is Ending.DONE else []
        if self._is_paced and self._report_seconds > 0.0:
            times.append(self._reported_at + self._report_seconds)
        if self._barge_in_seconds is not None and self._barge_in_seconds <= player.received_seconds:
            times.append(player.at(self._barge_in_seconds))
        return times
