"""Steps that prepare what only several sessions at once are worth: when they are wanted, and what came of them.

Rules
* Nothing is taken before several had work for the lane at the same moment again and again: one voice by itself pays
  nothing, and neither do two that hardly ever meet.
* One at a time and in their order, not often while anybody is served. One that fails ends all: what they prepare is
  done without, for good.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog

from tts_service.late_counts import LateCounts
from tts_service.speech.speech_model import PrepareStep

MEETINGS: Final = 4
"""So many times several have met..."""

WITHIN_SECONDS: Final = 10.0
"""...within this time, before anything is prepared."""

EVERY_SECONDS: Final = 0.5
"""Between two steps while somebody is served."""

QUIET_SECONDS: Final = 0.1
"""Where nobody is served: since when no tokens were made, or somebody's sound is about to come. Between two bursts the
lane of tokens rests too."""

STEP_SECONDS: Final = 0.15
"""What a step is taken to hold the lane for, until a longer one was seen."""

_log = structlog.get_logger(__name__)


class LateSteps:
    """What waits. Times are of the caller's clock; for the lane's thread, but for `add` before it, and `counts`."""

    def __init__(self) -> None:
        self.expected_seconds = STEP_SECONDS
        """For how long the next one holds the lane."""
        self.look_at = 0.0
        """When the next one may be taken while somebody is served."""
        self._steps: deque[PrepareStep] = deque()
        self._met: deque[float] = deque(maxlen=MEETINGS)
        self._wanted = False
        self._counts = LateCounts()

    @property
    def counts(self) -> LateCounts:
        """What came of them; from any thread."""
        return self._counts

    @property
    def next(self) -> PrepareStep | None:
        """The step that is to be taken next, if it is wanted."""
        return self._steps[0] if self._wanted and self._steps else None

    def add(self, steps: Sequence[PrepareStep]) -> None:
        """Take steps for later."""
        self._steps.extend(steps)
        self._counts = LateCounts(waiting=len(self._steps))

    def met(self, now: float) -> None:
        """Note that several could have done together now what they will do one after the other."""
        if self._wanted or not self._steps:
            return
        self._met.append(now)
        if len(self._met) == MEETINGS and now - self._met[0] <= WITHIN_SECONDS:
            self._wanted = True
            _log.info("several_speak", steps=len(self._steps), consequence="their sound will be made together")

    def looked(self, now: float) -> None:
        """Note that the next step was thought of, and whether or not it was taken, not again at once."""
        self.look_at = now + EVERY_SECONDS

    def taken(self, seconds: float) -> None:
        """Note that the next step has been taken, and how long that was."""
        step = self._steps.popleft()
        self.expected_seconds = max(self.expected_seconds, seconds)
        self._counts = LateCounts(waiting=len(self._steps), taken=self._counts.taken + 1)
        _log.debug("late_step_taken", step=step.name, seconds=round(seconds, 3))
        if not self._steps:
            _log.info("several_together", steps=self._counts.taken, longest_seconds=round(self.expected_seconds, 3))

    def failed(self, error: BaseException) -> None:
        """Note that the next step has failed: none is taken any more."""
        step = self._steps[0].name
        self._counts = LateCounts(taken=self._counts.taken, failed=len(self._steps))
        self._steps.clear()
        _log.warning("late_step_failed", step=step, error=str(error), consequence="sound is made one after the other")

    def __repr__(self) -> str:
        counts = self._counts
        state = "wanted" if self._wanted else "not wanted"
        return f"<LateSteps {state} | {counts.waiting} wait, {counts.taken} taken, {counts.failed} failed>"
